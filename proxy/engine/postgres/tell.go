package postgres

// reported are the parameters whose changes a client is told.
var reported = map[string]bool{
	"server_version": true, "server_encoding": true, "client_encoding": true, "application_name": true,
	"default_transaction_read_only": true, "in_hot_standby": true, "is_superuser": true, "session_authorization": true,
	"DateStyle": true, "IntervalStyle": true, "TimeZone": true, "integer_datetimes": true, "standard_conforming_strings": true,
	"scram_iterations": true,
}

// failureFrom is what may be known of an ErrorResponse of the target. On a target with
// masks its text may hold masked values: the SQLSTATE says what kind of error it is.
func (r *relay) failureFrom(m []byte) *failure {
	f := &failure{state: errorField(m[headSize:], 'C')}
	if len(f.state) != 5 {
		f.state = "XX000"
	}
	if late := r.up.late(f.state); late != nil {
		return late
	}
	f.message = errorField(m[headSize:], 'M')
	if r.veiled() {
		if f.state == errResult.state && f.message == errResult.message {
			return errResult
		}
		f.message = sentenceOf(f.state)
	}
	return f
}

// veiled reports whether what the target says in words is kept from the client. mu is held.
func (r *relay) veiled() bool {
	if r.strict {
		return true
	}
	h := r.queue.head()
	return h != nil && h.command != nil && h.command.masked
}

// fatal reports whether an ErrorResponse ends the session.
func fatal(m []byte) bool {
	s := errorField(m[headSize:], 'V')
	return s == "FATAL" || s == "PANIC"
}

// tell passes an error on to the client, or its safe form.
func (r *relay) tell(f *failure, m []byte, severity string) error {
	if fatal(m) {
		severity = "FATAL"
		r.farewell = true
	}
	if f.ours || r.veiled() {
		m = f.response(msgErrorResponse, severity)
	}
	return r.out.write(m)
}

// sentences are the safe texts for classes of SQLSTATE (PostgreSQL documentation,
// "PostgreSQL Error Codes") and for some codes of their own.
var sentences = map[string]string{
	"08": "connection exception", "0A": "feature not supported", "21": "cardinality violation", "22": "data exception",
	"23": "integrity constraint violation", "24": "invalid cursor state", "25": "invalid transaction state",
	"26": "invalid prepared statement name", "28": "invalid authorization", "2B": "dependent objects still exist",
	"34": "invalid cursor name", "38": "external routine exception", "3D": "invalid database name", "3F": "invalid schema name",
	"40": "transaction rollback", "42": "syntax error or access rule violation", "44": "WITH CHECK OPTION violation",
	"53": "insufficient resources", "54": "program limit exceeded", "55": "object not in prerequisite state",
	"57": "operator intervention", "58": "system error", "P0": "error raised by a function", "XX": "internal error",

	"22001": "value too long for the column's type", "22003": "numeric value out of range", "22007": "invalid datetime format",
	"22008": "datetime field overflow", "22012": "division by zero", "22P02": "invalid text representation", "22P03": "invalid binary representation",
	"23502": "null value violates a not-null constraint", "23503": "violation of a foreign key constraint",
	"23505": "duplicate key violates a unique constraint", "23514": "violation of a check constraint",
	"25001": "a transaction is already in progress", "25006": "cannot do this in a read-only transaction",
	"25P01": "there is no transaction in progress", "25P02": "current transaction is aborted, commands ignored until end of transaction block",
	"26000": "the prepared statement does not exist", "34000": "the portal or cursor does not exist",
	"40001": "could not serialize access", "40P01": "deadlock detected",
	"42501": "permission denied by the target", "42601": "syntax error", "42703": "a column does not exist", "42702": "a column reference is ambiguous",
	"42704": "an object does not exist", "42803": "grouping error", "42804": "datatype mismatch", "42883": "a function or operator does not exist",
	"42P01": "a relation does not exist", "42P02": "a parameter does not exist", "42P05": "the prepared statement already exists",
	"42P07": "a relation already exists", "42P18": "could not determine a parameter's data type", "55P03": "a lock is not available",
	"57014": "canceling statement due to user request or timeout", "57P01": "terminating connection due to administrator command",
}

// sentenceOf returns the safe text for a SQLSTATE.
func sentenceOf(state string) string {
	text, ok := sentences[state]
	if !ok {
		text, ok = sentences[state[:2]]
	}
	if !ok {
		text = "error"
	}
	return text + " (the target's own words are withheld because it has masked columns)"
}
