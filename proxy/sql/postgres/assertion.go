package postgres

import (
	"strconv"
	"strings"

	"github.com/cardea-dev/cardea/proxy/sql"
)

// Assertion is a question that fails with DivisionByZero where it cannot prove that the
// definitions are unchanged.
//
// It can go in one flight with the statement, between its Bind and its Execute: where it
// fails the server skips the Execute, so nothing is executed that was not verified, and
// nobody had to wait for the answer. It proves less often than Verify does. One that has
// another Before it needs that to be proven first.
type Assertion = Question

// DivisionByZero is the SQLSTATE of an assertion that fails.
const DivisionByZero = "22012"

// assertionQuery compares the server's state with its parameters: the columns of
// stateQuery that can change without the gate's knowledge. The encoding and the reading of
// strings are pinned when the session starts, and changes of them are reported; who is a
// superuser is in the catalog.
//
// A snapshot proves something only where it is a new one, taken after the locks: in a
// transaction of REPEATABLE READ it is that of its beginning.
const assertionQuery = `SELECT 1 OPERATOR(pg_catalog./) CASE WHEN NOT pg_catalog.pg_is_in_recovery()` +
	` AND pg_catalog.pg_current_xact_id_if_assigned() IS NULL` +
	` AND pg_catalog.current_setting('transaction_isolation') OPERATOR(pg_catalog.=) 'read committed'` +
	` AND pg_catalog.pg_current_snapshot()::pg_catalog.text OPERATOR(pg_catalog.=) $1::pg_catalog.text` +
	` AND pg_catalog.current_schemas(true)::pg_catalog.text OPERATOR(pg_catalog.=) $2::pg_catalog.text` +
	` AND CURRENT_USER::pg_catalog.text OPERATOR(pg_catalog.=) $3::pg_catalog.text` +
	` AND SESSION_USER::pg_catalog.text OPERATOR(pg_catalog.=) $4::pg_catalog.text` +
	` AND pg_catalog.current_setting('session_replication_role') OPERATOR(pg_catalog.=) $5::pg_catalog.text` +
	` THEN 1 ELSE 0 END`

// Where stateQuery has the columns that assertionQuery compares, and how many it has.
var (
	assertedColumns = [...]int{0, 1, 2, 3, 7}
	stateColumns    = 9
)

// isolationColumn is that of stateQuery which names the isolation level.
const isolationColumn = 4

// Assert returns the assertion that f holds; false if there is none, because f relies on
// nothing that was established under a state of the server, or because that state is not
// the last that was seen and no tripwire is set.
func (c *Catalog) Assert(f *sql.Facts) (Assertion, bool) {
	c.relied = nil
	d, ok := f.Definitions.(*definitions)
	if !ok || d.makes != nil || d.uses != nil {
		return Assertion{}, false
	}
	if a, ok := c.assertSnapshot(d); ok {
		return a, true
	}
	return c.assertTripwire(d)
}

// assertSnapshot is Assert by the server's state.
func (c *Catalog) assertSnapshot(d *definitions) (Assertion, bool) {
	if d.state == "" || !c.calm || d.state != c.state {
		return Assertion{}, false
	}
	if c.asserted.state != d.state {
		c.asserted.state = d.state
		c.asserted.arguments = assertedOf(d.state)
	}
	return Assertion{SQL: assertionQuery, Arguments: c.asserted.arguments}, c.asserted.arguments != nil
}

// Disturbed notes that an assertion failed: something was committed, or a tripwire fell.
func (c *Catalog) Disturbed() {
	c.calm, c.state = false, ""
	if c.relied != nil {
		c.relied.generation++
		c.relied = nil
	}
}

// Settled notes whether the session's settings, role and path are those of the state that
// was seen last: an assertion has proven that, or a command may have changed them since. A
// tripwire has proven those of another time.
func (c *Catalog) Settled(settled bool) { c.settled = settled && c.relied == nil }

// SnapshotFunction is the OID of pg_current_snapshot (pg_proc.dat), to be called without
// arguments by the protocol's FunctionCall.
const SnapshotFunction = 5061

// PinQuery makes the session's path and isolation level its own, once it is committed, so
// that a change of the server's configuration does not change them.
const PinQuery = `SELECT pg_catalog.set_config(s.n, pg_catalog.current_setting(s.n), false) FROM pg_catalog.unnest('{search_path,default_transaction_isolation}'::pg_catalog.text[]) s(n)`

// Snapshot returns what SnapshotFunction says in text format, after the statement and in
// its transaction, as long as nothing was committed since the definitions were read that f
// relies on. It is told where settings, role and path are known to be as they were then,
// and false where Assert says so or has a tripwire, or where they are not known.
func (c *Catalog) Snapshot(f *sql.Facts) (snapshot string, ok bool) {
	d, ok := f.Definitions.(*definitions)
	if !ok || !c.settled || d.makes != nil || d.uses != nil {
		return "", false
	}
	a, ok := c.assertSnapshot(d)
	if !ok {
		return "", false
	}
	return a.Arguments[0], true
}

// Repeatable reports whether a command only reads, so that it may be executed again and
// leaves the session as it was. Functions of users are none that do.
func Repeatable(f *sql.Facts) bool {
	if f.Statements != 1 {
		return false
	}
	for _, n := range f.Nodes {
		if n.Kind != "Select" || n.Group != sql.GroupRead {
			return false
		}
	}
	return true
}

// asserted are the arguments of the assertion of one state.
type asserted struct {
	state     string
	arguments []string
}

// assertedOf takes the arguments from a state, which appendRow wrote; nil if there is
// nothing to assert.
func assertedOf(state string) []string {
	var values []string
	for state != "" {
		size, rest, ok := strings.Cut(state, ":")
		n, err := strconv.Atoi(size)
		if !ok || err != nil || n < 0 || n >= len(rest) || rest[n] != ';' {
			return nil
		}
		values, state = append(values, rest[:n]), rest[n+1:]
	}
	if len(values) != stateColumns || values[isolationColumn] != "read committed" {
		return nil
	}
	arguments := make([]string, 0, len(assertedColumns))
	for _, i := range assertedColumns {
		arguments = append(arguments, values[i])
	}
	return arguments
}
