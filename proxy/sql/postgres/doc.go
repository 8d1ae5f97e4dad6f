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
// the bounds of partitions by a masked column. Views, matviews, foreign tables, user
// functions, operators and casts, MERGE and several statements in one message are denied
// for now.
//
// Each analysis on such a target reads the catalog anew, over the session's own backend;
// Facts.Definitions notes what was asked and answered. The engine forwards Parse, calls
// Verify while the server holds its locks, and only then binds.
package postgres

//go:generate go run ./internal/gentree
//go:generate go run ./internal/genfuncs
