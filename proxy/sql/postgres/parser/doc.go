// Package parser reads SQL with PostgreSQL's own grammar, in processes apart.
//
// The grammar is C code and its stack can be exhausted by a few kilobytes of SQL, which
// Go cannot survive. So it runs in workers: the program executes itself again with an
// empty environment, two pipes and nothing else, gives up every right it does not need
// (see confine) and answers one statement at a time. A worker that crashes or hangs
// costs the one statement that it was reading: it is refused and the next statement gets
// a new worker.
//
//	proxy                                worker
//	  │──length, text──────────────────────▶│ parse, scan
//	  │◀─status, length, tree, literals─────│
//
// A worker that cannot be confined does not serve. WorkerMain must be called first in
// main, and in TestMain of packages that parse.
package parser
