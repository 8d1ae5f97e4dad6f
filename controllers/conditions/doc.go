// Package conditions computes what an object's conditions say and writes them.
//
// A reconciler's steps set the conditions they own and stop with an error that carries
// intent: waiting for somebody else, stalled until the spec or a reference changes, or
// any other error, which is tried again. Ready and Stalled follow from the owned
// conditions by a Summary, which is data, so that tools that know kstatus agree with it.
package conditions
