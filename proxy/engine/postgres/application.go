package postgres

import "strings"

// tagged is the application_name under which the target sees a session: the client's own
// and the mark, which is never cut but at its front. What stands in the client's own cannot
// be taken for a mark.
func tagged(application, grant, session string) string {
	mark := "[cardea " + grant + "/" + session + "]"
	if len(mark) > maxName {
		// Grants have long names, and the session's begins with the grant's.
		const around = len("[cardea ]")
		mark = "[cardea " + session[max(0, len(session)-maxName+around):] + "]"
	}
	application = strings.TrimSpace(strings.Map(func(r rune) rune {
		switch {
		case r < ' ' || r > '~': // a server shows others in ways of its own
			return '?'
		case r == '[':
			return '('
		case r == ']':
			return ')'
		}
		return r
	}, application))
	room := maxName - len(mark) - 1
	if application == "" || room < 1 {
		return mark
	}
	return strings.TrimSpace(application[:min(len(application), room)]) + " " + mark
}

// tag is the application_name under which the target sees the relay's session.
func (r *relay) tag() string {
	a := r.s.Admission()
	return tagged(r.conn.request.Application, a.Request.Grant, r.s.Name())
}

// unmarked is a change of application_name as the client is told it: it knows the value
// that it began with, and that RESET returns to, as its own.
func (r *relay) unmarked(m []byte, value string) []byte {
	if value != r.tag() {
		return m
	}
	return appendParameterStatus(nil, "application_name", r.conn.request.Application)
}
