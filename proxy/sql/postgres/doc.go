// Package postgres establishes what is known of PostgreSQL statements: their kinds, the
// relations and functions they use, whether a write has an effective WHERE clause, which
// baseline features they touch, and, on a target with masked columns, where each output
// column comes from.
//
// Texts are read with PostgreSQL's own grammar in worker processes (package parser) and
// classified node by node: every message of the parse tree is visited (tree_gen.go is
// generated from the tree's descriptors and leaves out no field), and a statement or
// expression that is not listed here is unknown.
//
// # Groups
//
// A statement is Read only if nothing it does can change anything: no row locks, no INTO,
// and calls of functions on an allow-list of PostgreSQL's own alone (functions_gen.go).
// Any other function makes its statement Write, with the feature FunctionCall, and one
// that reaches beyond rows (files, programs, other servers, other sessions, settings)
// makes it Administration. Without a catalog a name is judged by its spelling: a function,
// operator or cast that somebody defined under the name of a built-in one, or that is
// called by attribute notation, looks like a built-in one. Only the server's own
// privileges help against that on targets without masks; on targets with masks names are
// resolved.
//
// # Masks
//
// On a target with masked columns a statement is admitted only if all of it is on a list
// of constructs whose lineage is established against the catalog of the session's own
// backend. A masked column may appear as a plain output and nowhere else; a value written
// to one must be a constant or parameter. Everything else sets Facts.MaskViolation.
//
// Not defended against on such targets: what the owner's own triggers, row-security
// policies and column defaults do with masked values, and what definitions show, such as
// the bounds of partitions by a masked column. Foreign tables, functions of users
// that no rule pins, and their operators are denied for now.
//
// A view is read as the sub-select that the server says it is, by the same rules, and
// nothing is written through one. Its relations are those that its rule depends on, not
// what their names mean in the session; its functions, operators and types are built in.
//
// An analysis on such a target reads the catalog over the session's own backend, or takes
// what the same session read before; Facts.Definitions notes what was asked and answered.
// The engine forwards Parse and Bind, calls Verify while the server holds its locks, and
// only then executes. Nothing that was remembered is relied upon without that.
//
// # Verification
//
// PostgreSQL has no version of its catalog. But every change of it is a transaction with
// an ID, and a snapshot says which of these are complete: if pg_current_snapshot() is the
// same as before the definitions were read, no other transaction has ended since, and they
// are what they were. That proof does not hold where the own transaction has an ID, for it
// sees its own changes, nor on a standby, whose snapshots do not list all that run; nor
// does it cover what belongs to the session: path, roles, settings and isolation level are
// part of the same answer. Where it fails the definitions are read again, in one flight,
// and compared with what the analysis was told. Relations are compared with the version
// (xmin) of their catalog row, so that one that was renamed away and back is another one:
// the server may have parsed a statement in between.
//
// What the server made of a text when it parsed it stays: a table that is created later
// under the same name in an earlier schema, a temporary one above all, does not change it.
// So facts belong to one Parse. Later ones hold for it only if they rely on the same
// definitions (SameDefinitions); else the engine has the server parse the text again.
package postgres

//go:generate go run ./internal/gentree
//go:generate go run ./internal/genfuncs $POSTGRES_URIS
