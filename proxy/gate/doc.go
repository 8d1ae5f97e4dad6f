// Package gate is the part of the proxy that knows all others: it accepts connections,
// lets an engine find out who calls, admits the session against the policy, opens its
// recording, and ends it when it may no longer be.
//
//	accept ─ lobby ─ Engine.Handshake ─ fresh? ─ Snapshot.Admit ─ Spool.Open ─ Conn.Serve
//	                                      │            │                          ▲
//	          every change of the policy ─┴── admit again: update or end ─────────┘
//
// It refuses: a connection beyond the bounds, a session on a policy that was not proven
// fresh, one that the policy does not admit, one that cannot be recorded. A client that
// says nothing, or too little, loses its place to the next one of the same source.
package gate
