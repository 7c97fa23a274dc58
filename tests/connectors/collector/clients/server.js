// What a shop's server sends: node server.js COLLECTOR WRITE_KEY
const { Analytics } = require("@segment/analytics-node");

const [host, writeKey] = process.argv.slice(2);
const analytics = new Analytics({ writeKey, host, flushAt: 3 });
analytics.on("error", (error) => {
  console.error(error);
  process.exitCode = 1;
});
analytics.identify({ userId: "node-user", traits: { plan: "pro" } });
analytics.track({ userId: "node-user", event: "Order Completed", properties: { total: 12.5, city: "Zürich" } });
analytics.page({ anonymousId: "node-visitor", name: "Home", timestamp: new Date("2026-02-01T10:00:00Z") });
analytics.group({ userId: "node-user", groupId: "node-group" });
analytics.closeAndFlush();
