// Package gate makes a namespace with Targets or grants a gate: it applies the proxy with
// everything around it, scales it to zero when there is nothing for it to do and up before
// there is, and removes all of it when the last Target and grant are gone.
//
// The key of a reconcile is the namespace. There is no object to own the children: what
// the operator made bears its labels, and is found by them again after a restart. The
// root namespace is never a gate.
package gate
