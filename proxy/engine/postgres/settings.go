package postgres

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/cardea-dev/cardea/proxy/policy"
	"github.com/cardea-dev/cardea/proxy/session"
	pgsql "github.com/cardea-dev/cardea/proxy/sql/postgres"
)

// passed are the settings of a start-up message that go to the target, in lower case. The
// value says whether they may also on a target with masks.
var passed = map[string]bool{
	"datestyle": true, "timezone": true, "intervalstyle": true, "extra_float_digits": true, "bytea_output": true,
	"statement_timeout": true, "lock_timeout": true, "idle_in_transaction_session_timeout": true, "idle_session_timeout": true,
	"default_transaction_read_only": true, "geqo": true, "jit": true, "client_min_messages": true,
	searchPath: false, "default_transaction_isolation": true, "work_mem": false,
}

const searchPath = "search_path"

// setsPath reports whether the client's start-up message gives the session a path.
func (s *startup) setsPath() bool {
	return slices.ContainsFunc(s.parameters, func(p parameter) bool { return strings.EqualFold(p.name, searchPath) })
}

// settings returns the settings with which the gate signs in for the client.
func (s *startup) settings(session *session.Session) ([]parameter, error) {
	masked := !session.Admission().Masks.Empty()
	list := []parameter{{"client_encoding", "UTF8"}, {"application_name", tagged(policy.Printable(s.get("application_name"), maxName), session.Admission().Request.Grant, session.Name())}}
	for _, p := range s.parameters {
		name := strings.ToLower(p.name)
		switch name {
		case "application_name", "replication":
			continue
		case "client_encoding":
			if !isUTF8(p.value) {
				return nil, notSet(p.name, "this gate speaks UTF-8 only", "set client_encoding to UTF8 (PGCLIENTENCODING)")
			}
			continue
		case "standard_conforming_strings":
			if !strings.EqualFold(p.value, "on") {
				return nil, notSet(p.name, "it must be on", "leave it on")
			}
			continue
		case "options":
			return nil, notSet(p.name, "this gate takes settings alone", "leave nothing in options (PGOPTIONS) but -c name=value")
		}
		withMasks, known := passed[name]
		if name == searchPath {
			withMasks = pgsql.PlainPath(p.value)
		}
		if !known || masked && !withMasks {
			hint := "use SET in the session"
			if name == searchPath {
				hint = "leave out pg_catalog, which comes first, and pg_temp"
			}
			return nil, notSet(p.name, "this gate does not pass it on", hint)
		}
		list = append(list, parameter{name, p.value})
	}
	return list, nil
}

func notSet(name, why, hint string) error {
	return &failure{state: stateInvalidSetting, message: fmt.Sprintf("%s: the start-up setting %q is refused: %s", policy.CodeProtocol, policy.Printable(name, maxName), why), hint: hint}
}

func isUTF8(encoding string) bool {
	plain := strings.Map(func(r rune) rune {
		if r == '-' || r == '_' || r == ' ' || r == '\'' || r == '"' {
			return -1
		}
		return r
	}, strings.ToUpper(encoding))
	return plain == "UTF8" || plain == "UNICODE"
}

// usable judges a target that signed the gate in.
func (u *upstream) usable(s *session.Session) error {
	for _, name := range []string{"standard_conforming_strings", "client_encoding"} {
		if !pinned(name, u.report(name)) {
			return target("the target reads strings in a way that the gate does not", errors.New(name+" is not as asked for"))
		}
	}
	if u.status != idle {
		return target("the target does not speak PostgreSQL's protocol", errProtocol)
	}
	if !s.Admission().Masks.Empty() && !u.tested() {
		return untested()
	}
	return nil
}

// tested reports whether the target's version is one that the analysis was tried with.
func (u *upstream) tested() bool {
	digits, _, _ := strings.Cut(u.report("server_version"), ".")
	major, err := strconv.Atoi(digits)
	return err == nil && pgsql.SupportedMajor(major)
}

// name makes up a name that no client guesses.
func (e *Engine) name() (string, error) {
	var b [16]byte
	if _, err := io.ReadFull(e.c.Random, b[:]); err != nil {
		return "", fmt.Errorf("read randomness: %w", err)
	}
	return "cardea_" + hex.EncodeToString(b[:]), nil
}
