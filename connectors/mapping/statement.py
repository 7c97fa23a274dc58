"""What a mapping may be: one SELECT over `raw` and its lookups that gives the same facts whenever it runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import duckdb
import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.tokenizer_core import Token, TokenType

from connectors.errors import MappingError
from connectors.ids import quoted_name
from connectors.mapping.functions import CLOCK_WORDS, TABLE_FUNCTIONS, catalogue

RAW = "raw"
#: The number of a raw record in its file; every fact of a record mapping carries it.
ROW = "_row"
_MARK = "__milepost_select_"


@dataclass(frozen=True)
class Statement:
    """A checked mapping: its text, the text that carries `_row` as well, and its syntax tree."""

    file: str
    unit: str
    text: str
    carrying: str
    tree: exp.Expr


def read_statement(text: str, file: str, unit: str, lookups: frozenset[str]) -> Statement:
    """Check a mapping.

    Args:
        text: the SQL.
        file: the mapping's file, for messages.
        unit: `record` or `file`.
        lookups: names of the declared lookups.

    Raises:
        MappingError: names the file, the offending piece and the remedy.
    """
    text = text.strip().rstrip(";").rstrip()
    _check_one_select(text, file)
    _check_steady(text, file)
    places = _select_places(text)
    marked = text
    for number, place in reversed(list(enumerate(places))):
        marked = f"{marked[:place]} '{number}' AS {_MARK}{number}, {marked[place:]}"
    try:
        tree = sqlglot.parse_one(marked, dialect="duckdb")
    except SqlglotError as error:
        raise MappingError(
            f"{file}: can't be analysed: {_first_line(error)}; write it in plainer SQL"
        ) from error
    _check_calls(tree, file)
    check = _Check(file, unit, frozenset(name.lower() for name in lookups))
    if not check.reads_raw(tree, {}):
        raise MappingError(f"{file}: reads no records; write SELECT … FROM {RAW}")  # noqa: S608
    carrying = text
    if unit == "record":
        for number, place in sorted(enumerate(places), reverse=True):
            if number in check.carriers:
                carrying = f"{carrying[:place]} {check.carriers[number]}, {carrying[place:]}"
    return Statement(file, unit, text, carrying, _without_marks(tree))


def keys_named_again(statement: Statement) -> list[str]:
    """Name the keys of records that a mapping reads after it has given their name to something itself.

    `CAST(day AS DATE) AS day, day || '/' || ad AS native_id` reads the record's `day` twice where some record of a
    batch has it, and what it made of it where none has: what a fact says would depend on its neighbours, unless the
    key is there in every batch.

    Raises:
        MappingError: a name is read that may be either, and nothing says that it is a key: `a AS b, b AS c`.
    """
    again: list[str] = []
    for select in statement.tree.find_all(exp.Select):
        given: set[str] = set()
        keys: set[str] = set()
        for expression in select.expressions:
            for column in expression.find_all(exp.Column):
                name = column.name.lower()
                if column.table:
                    continue
                if name not in given:
                    keys.add(name)
                elif name in keys:
                    again.append(column.name)
                else:
                    raise MappingError(
                        f"{statement.file}: {column.name} is a name that the SELECT has given to something before: "
                        f"write raw.{column.name} for the record's key, or name it otherwise where the SELECT gives it"
                    )
            if isinstance(expression, exp.Alias):
                given.add(expression.alias.lower())
    return sorted(set(again))


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]


def _check_one_select(text: str, file: str) -> None:
    if not text:
        raise MappingError(f"{file}: is empty; write SELECT … FROM {RAW}")  # noqa: S608
    try:
        statements = duckdb.extract_statements(text)
    except duckdb.Error as error:
        raise MappingError(f"{file}: {error}") from error
    if len(statements) != 1:
        raise MappingError(f"{file}: holds {len(statements)} statements; write one SELECT")
    if statements[0].type != duckdb.StatementType.SELECT:
        name = statements[0].type.name
        raise MappingError(
            f"{file}: a {name} statement; a mapping is one SELECT, it changes and sets nothing"
        )


def _tokens(text: str) -> list[Token]:
    return list(sqlglot.tokenize(text, dialect="duckdb"))


def _check_steady(text: str, file: str) -> None:
    """Refuse what gives another answer at another time; looks at the words as they are written."""
    tokens = _tokens(text)
    unsteady = catalogue().unsteady
    for token, following in zip(tokens, [*tokens[1:], None], strict=True):
        word = token.text.lower()
        called = following is not None and following.token_type == TokenType.L_PAREN
        is_name = token.token_type != TokenType.STRING
        bare = token.token_type != TokenType.IDENTIFIER
        if is_name and ((called and word in unsteady) or (bare and word in CLOCK_WORDS)):
            raise MappingError(
                f"{file}: line {token.line}: {token.text}{'()' if called else ''} differs from run to run; "
                "take the value from the record (a file's time of arrival is received_at by itself)"
            )


def _check_calls(tree: exp.Expr, file: str) -> None:
    """Refuse what only the syntax tree shows to be unsteady."""
    for node in tree.walk():
        if isinstance(node, exp.Anonymous) and node.name.lower() == "age" and len(node.expressions) == 1:
            raise MappingError(f"{file}: age() of one time reads the clock; give it two times")
        if isinstance(node, exp.TableSample):
            raise MappingError(f"{file}: a SAMPLE differs from run to run; choose records by what they hold")


def _select_places(text: str) -> list[int]:
    """Give the position after each SELECT (and its DISTINCT or ALL), where a projection can be put."""
    tokens = _tokens(text)
    places = []
    for index, token in enumerate(tokens):
        if token.token_type != TokenType.SELECT:
            continue
        last = index
        if tokens[last + 1].token_type in (TokenType.DISTINCT, TokenType.ALL):
            last += 1
            if tokens[last + 1].token_type == TokenType.ON:
                last = _closing(tokens, last + 2)
        places.append(tokens[last].end + 1)
    return places


def _closing(tokens: list[Token], opening: int) -> int:
    depth = 0
    for index in range(opening, len(tokens)):
        if tokens[index].token_type == TokenType.L_PAREN:
            depth += 1
        elif tokens[index].token_type == TokenType.R_PAREN:
            depth -= 1
            if depth == 0:
                return index
    return opening


def _mark_of(select: exp.Select) -> int | None:
    for projection in select.expressions:
        if isinstance(projection, exp.Alias) and projection.alias.startswith(_MARK):
            return int(projection.alias.removeprefix(_MARK))
    return None


def _without_marks(tree: exp.Expr) -> exp.Expr:
    for select in tree.find_all(exp.Select):
        select.set(
            "expressions",
            [item for item in select.expressions if not item.alias.startswith(_MARK)],
        )
    return tree


class _Check:
    """Walks the queries of a mapping and finds those that read `raw`."""

    def __init__(self, file: str, unit: str, lookups: frozenset[str]) -> None:
        self.file = file
        self.unit = unit
        self.lookups = lookups
        self.carriers: dict[int, str] = {}

    def refuse(self, piece: exp.Expr | str, remedy: str) -> MappingError:
        text = piece if isinstance(piece, str) else _without_marks(piece.copy()).sql(dialect="duckdb")
        shown = text if len(text) <= 80 else text[:77] + "..."
        return MappingError(f"{self.file}: {shown}: {remedy}")

    def reads_raw(self, query: exp.Expr, scope: dict[str, bool]) -> bool:
        """Say whether the query's rows are raw records' rows; refuses what a mapping may not do."""
        scope = self._with_ctes(query, scope)
        if isinstance(query, exp.Subquery):
            reads = self.reads_raw(query.this, scope)
            if reads:
                self._refuse_modifiers(query)
            return reads
        if isinstance(query, exp.SetOperation):
            return self._set_operation(query, scope)
        if isinstance(query, exp.Select):
            return self._select(query, scope)
        if isinstance(query, exp.Values):
            return False
        raise self.refuse(query, "not a SELECT; write it as one")

    def _with_ctes(self, query: exp.Expr, scope: dict[str, bool]) -> dict[str, bool]:
        clause = query.args.get("with_")
        if clause is None:
            return scope
        scope = dict(scope)
        for cte in clause.expressions:
            name = cte.alias.lower()
            if name == RAW or name in self.lookups:
                raise self.refuse(f"WITH {cte.alias}", "the name is taken; choose another")
            if clause.args.get("recursive"):
                scope[name] = False
            scope[name] = self.reads_raw(cte.this, scope)
            if scope[name] and clause.args.get("recursive") and self.unit == "record":
                raise self.refuse("WITH RECURSIVE", f"may not read {RAW}; write it without recursion")
        return scope

    def _set_operation(self, query: exp.SetOperation, scope: dict[str, bool]) -> bool:
        sides = [self.reads_raw(query.this, scope), self.reads_raw(query.expression, scope)]
        if self.unit == "record" and any(sides):
            if not isinstance(query, exp.Union) or query.args.get("distinct"):
                raise self.refuse(
                    type(query).__name__.upper(),
                    "compares records with each other; use UNION ALL or unit: file",
                )
            if not all(sides):
                raise self.refuse("UNION ALL", f"every part must read {RAW}; a record makes its own facts")
            stars = [star for side in (query.this, query.expression) for star in side.find_all(exp.Star)]
            if stars and not query.args.get("by_name"):
                raise self.refuse("UNION ALL with *", "name the columns, or use UNION ALL BY NAME")
            self._refuse_modifiers(query)
        return any(sides)

    def _select(self, select: exp.Select, scope: dict[str, bool]) -> bool:
        sources = list(self._sources(select))
        carriers = [source for source in sources if self._source_reads_raw(source, scope)]
        for inner in self._inner_queries(select):
            if self.reads_raw(inner, scope) and self.unit == "record":
                raise self.refuse(inner, f"a subquery that reads {RAW} sees other records; use unit: file")
        if not carriers:
            return False
        mark = _mark_of(select)
        if mark is None:
            raise self.refuse("FROM without SELECT", "write SELECT * FROM …")
        if self.unit == "record":
            self._check_record_select(select, sources, carriers)
            if not self._star_carries(select, carriers[0]):
                self.carriers[mark] = f"{quoted_name(carriers[0].alias_or_name)}.{ROW} AS {ROW}"
        return True

    def _check_record_select(
        self, select: exp.Select, sources: list[exp.Expr], carriers: list[exp.Expr]
    ) -> None:
        if len(carriers) > 1:
            raise self.refuse(f"{RAW} joined with itself", "a record sees itself only; use unit: file")
        for join in select.args.get("joins") or ():
            if join.side in ("RIGHT", "FULL") or join.method == "POSITIONAL":
                raise self.refuse(join, f"its rows belong to no record; put {RAW} first and use LEFT JOIN")
            if (join.side or join.kind in ("SEMI", "ANTI")) and carriers[0] is not sources[0]:
                raise self.refuse(join, f"its rows belong to no record; put {RAW} first")
        self._refuse_modifiers(select)
        for node in _own(select):
            if isinstance(node, exp.Window):
                raise self.refuse(node, "a window sees other records; use unit: file")
            if isinstance(node, exp.AggFunc | exp.Func) and _names(node) & catalogue().aggregates:
                raise self.refuse(node, "aggregates over records; use unit: file")
            if isinstance(node, exp.Columns):
                raise self.refuse(node, "name the columns")

    def _refuse_modifiers(self, query: exp.Expr) -> None:
        """Refuse the clauses that make one record's facts depend on other records."""
        if self.unit != "record":
            return
        for key, words in (
            ("distinct", "DISTINCT"),
            ("group", "GROUP BY"),
            ("having", "HAVING"),
            ("qualify", "QUALIFY"),
            ("order", "ORDER BY"),
            ("limit", "LIMIT"),
            ("offset", "OFFSET"),
            ("pivots", "PIVOT"),
            ("windows", "WINDOW"),
        ):
            if query.args.get(key) and not (key == "distinct" and isinstance(query, exp.SetOperation)):
                raise self.refuse(words, "makes a record's facts depend on other records; use unit: file")

    def _sources(self, select: exp.Select) -> Iterator[exp.Expr]:
        clause = select.args.get("from_")
        pieces = [clause.this] if clause is not None else []
        pieces.extend(join.this for join in select.args.get("joins") or ())
        pieces.extend(select.args.get("laterals") or ())
        for piece in pieces:
            yield piece
            for nested in piece.args.get("joins") or ():
                yield nested.this

    def _source_reads_raw(self, source: exp.Expr, scope: dict[str, bool]) -> bool:
        if source.args.get("pivots") and self.unit == "record":
            raise self.refuse(source, "PIVOT and UNPIVOT see other records; use unit: file")
        if isinstance(source, exp.Lateral):
            return self._source_reads_raw(source.this, scope)
        if isinstance(source, exp.Subquery) and isinstance(source.this, exp.Table):
            return self._source_reads_raw(source.this, scope)
        if isinstance(source, exp.Query) and not isinstance(source, exp.Table):
            return self.reads_raw(source, scope)
        if isinstance(source, exp.Table):
            return self._table_reads_raw(source, scope)
        if isinstance(source, exp.Unnest | exp.Values | exp.Explode):
            return False
        return self._table_reads_raw(exp.Table(this=source), scope)

    def _table_reads_raw(self, table: exp.Table, scope: dict[str, bool]) -> bool:
        if isinstance(table.this, exp.Func):
            if _names(table.this) & TABLE_FUNCTIONS or isinstance(
                table.this, exp.GenerateSeries | exp.Explode
            ):
                return False
            raise self.refuse(table.this, "reads what is not declared; declare the file under lookups:")
        name = table.name.lower()
        if table.args.get("db") is None:
            if name in scope:
                return scope[name]
            if name == RAW:
                return True
            if name in self.lookups:
                return False
        known = ", ".join([RAW, *sorted(self.lookups)])
        raise self.refuse(table, f"not a table here ({known}); declare a side table under lookups:")

    def _inner_queries(self, select: exp.Select) -> Iterator[exp.Expr]:
        """Yield the outermost queries inside the select's expressions (not its sources, not its CTEs)."""
        skipped = {id(source) for source in self._sources(select)} | {id(select.args.get("with_"))}

        def walk(node: exp.Expr) -> Iterator[exp.Expr]:
            for child in node.iter_expressions():
                if id(child) in skipped:
                    continue
                if isinstance(child, exp.Query) and not isinstance(child, exp.Table):
                    yield child
                else:
                    yield from walk(child)

        yield from walk(select)

    def _star_carries(self, select: exp.Select, carrier: exp.Expr) -> bool:
        """Say whether a * in the select's projections brings `_row` along."""
        for projection in select.expressions:
            if isinstance(projection, exp.Star):
                return True
            of_table = isinstance(projection, exp.Column) and isinstance(projection.this, exp.Star)
            if of_table and projection.text("table").lower() == carrier.alias_or_name.lower():
                return True
        return False


def _own(select: exp.Select) -> Iterator[exp.Expr]:
    """Yield the nodes of a select's own expressions, those of queries inside it aside."""

    def walk(node: exp.Expr) -> Iterator[exp.Expr]:
        for child in node.iter_expressions():
            if isinstance(child, exp.With) or (
                isinstance(child, exp.Query) and not isinstance(child, exp.Table)
            ):
                continue
            yield child
            yield from walk(child)

    yield from walk(select)


def _names(function: exp.Expr) -> set[str]:
    """Give the names that DuckDB may know a function by, in lower case."""
    if isinstance(function, exp.Anonymous):
        return {function.name.lower()}
    if isinstance(function, exp.AnonymousAggFunc):
        return {str(function.this).lower()}
    if isinstance(function, exp.Func):
        return {name.lower() for name in function.sql_names()}
    return set()
