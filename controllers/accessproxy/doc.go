// Package accessproxy says of an AccessProxy what became of it. Its spec is applied with the
// rest of the gate, by package gate.
package accessproxy
