// Package explain says what the gate would do to a statement, and why, without sending it
// anywhere. It decides by the same code as the proxy: policy is compiled, the statement
// analysed and the rules asked as in a session that begins now.
//
// Masks depend on what names mean in the database. With a connection to it they are
// established as the proxy does; the statement itself is never executed there. Without
// one, a statement on a Target with masks whose lineage matters is reported as not
// established, and never as allowed.
package explain
