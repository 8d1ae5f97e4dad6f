// Package postgres speaks PostgreSQL's protocol (versions 3.0 and 3.2) to clients and, as
// the target's login, version 3.0 to the target.
//
//	client               gate                                              target
//	  │──SSLRequest, TLS──▶│  or TLS at once with ALPN "postgresql"              │
//	  │──StartupMessage───▶│  user is the grant's name                           │
//	  │◀─SCRAM────────────▶│  or the grant's client certificate                  │
//	  │                    │  Conn.Request; the gate admits                      │
//	  │                    │──TLS, StartupMessage, SCRAM as the target's login──▶│
//	  │◀─AuthenticationOk──│◀─────────────────────────────────ReadyForQuery──────│
//	  │──Query, Execute───▶│  analyse, Session.Authorize (holds, records)        │
//	  │                    │──forward what the Permit is for────────────────────▶│
//	  │                    │◀────────────────────────────────rows, completion────│
//	  │                    │  mask, Session.Respond (records)                    │
//	  │◀─rows, completion──│                                                     │
//
// One goroutine reads the client, decides and writes to the target; another reads the
// target, masks, records and writes to the client. Between them lies a queue with one
// entry for each answer that is awaited: an answer that nothing awaits ends the session.
//
// # Refusals
//
// A refused command is answered as PostgreSQL answers a command that fails: ErrorResponse;
// in the extended protocol everything up to the next Sync is then discarded; an open
// transaction fails, so that a client that does not look commits nothing halfway. For
// that the target is made to execute a portal that does not exist; if no transaction is
// open nothing is sent to it at all.
//
// # Prepared statements
//
// Parse reaches the target when the statement is understood and no rule denies it;
// each Execute is decided and recorded on its own, under the policy of that moment.
// Statements and portals that SQL makes (PREPARE, DECLARE) share their names with those
// of the protocol, so that one could stand in for the other after the decision: a session
// uses one kind at a time.
//
// # Targets with masks
//
// Every statement goes by the extended protocol, one at a time: the target parses and
// binds it, the definitions that the analysis relied on are verified under the target's
// own locks, the described result is compared with the analysis, and only then is it
// executed. The questions travel with Parse and Bind, so that this costs one more round
// trip; they are statements that the gate prepares once, under random names that the
// client may neither parse nor close, and anew after every PREPARE and DEALLOCATE.
//
// Where nothing was committed lately even that round trip is saved: behind the Bind goes
// an assertion, a question that fails unless the target's state is the one that the
// analysis holds for, and behind that the Execute and the Sync. If the assertion fails the
// target skips the Execute. The gate then takes the statement to be new, binds and
// verifies it as above, and the client sees nothing of it.
//
//	client                  gate                                         target
//	  │──Bind, Execute, Sync─▶│──Bind, assertion, Execute, Sync────────────▶│
//	  │                       │◀─bound, proven, rows, ready─────────────────│
//	  │◀─bound, rows, ready───│      or: bound, failed, ready               │
//	  │                       │──Bind, Describe, questions─────────────────▶│
//	  │                       │◀─the definitions are the same───────────────│
//	  │                       │──Execute, Sync─────────────────────────────▶│
//	  │◀─bound, rows, ready───│◀─rows, ready────────────────────────────────│
//
// Behind a command that only reads, and returned little before, goes a FunctionCall in place
// of the Sync: the snapshot that it returns proves as much after the execution, for a tenth of
// what an assertion costs the target. Until then the answer is held back; without proof it is
// dropped, and the command executed again as if it were new. What a snapshot does not tell,
// settings, role and path, the gate knows to be unchanged: no command may have changed them
// since an assertion proved them, and the path is made the session's own before.
//
// DECLARE, EXECUTE, CREATE TABLE AS and COPY the target plans when it executes them. Their
// answers are held back until it is certain, by the locks that the backend has then, that
// they read what was verified.
//
// Rows whose columns were not established are withheld and end the session. Errors keep
// their SQLSTATE and lose their text; notices, notifications and parameters off a list are
// dropped.
//
// # What is refused
//
// Connections without TLS, GSSAPI encryption, replication, FunctionCall, COPY BOTH, a
// second start-up message, client encodings other than UTF-8, command-line options in the
// start-up message, messages out of their phase, and messages beyond their bounds.
package postgres
