package session

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/policy"
	"github.com/cardea-dev/cardea/proxy/recording"
	"github.com/cardea-dev/cardea/proxy/sql"
)

// noted is a command as it is recorded, with room for the event: both are made for each
// command.
type noted struct {
	recording.Command
	event recording.Event
}

// asEvent returns the event, to be recorded at once.
func (n *noted) asEvent() *recording.Event {
	n.event = recording.Event{Kind: recording.KindCommand, Command: &n.Command}
	return &n.event
}

func (s *Session) describe(id uint64, c *policy.Command) *noted {
	rec := &noted{Command: recording.Command{ID: id}}
	var changed bool
	rec.Text, changed = s.text(c)
	if changed || !utf8.Valid(c.Text) {
		rec.Digest = hex.EncodeToString(s.mac(c.Text))
	}
	sensitive := isSensitive(c)
	if len(c.Parameters) > 0 {
		rec.Parameters = make([]string, 0, len(c.Parameters))
	}
	for _, p := range c.Parameters {
		switch {
		case p.Null:
			rec.Parameters = append(rec.Parameters, "NULL")
		case sensitive:
			rec.Parameters = append(rec.Parameters, "#"+s.hash([]byte(p.Text)))
		default:
			rec.Parameters = append(rec.Parameters, p.Text)
		}
	}
	return rec
}

// text returns a command as it is shown, and whether that is not all of it. A request to a
// Kubernetes API is a method and a URL, which is shown where it is understood, and so is what
// the client of an SSH server asks for.
func (s *Session) text(c *policy.Command) (string, bool) {
	if c.SQL == nil && (c.Kubernetes != nil && c.Kubernetes.Known || c.SSH != nil && c.SSH.Known) {
		return string(c.Text), false
	}
	return sql.Redact(c.Text, c.SQL, s.hash)
}

// isSensitive reports whether what goes with a command is shown as hashes alone.
func isSensitive(c *policy.Command) bool {
	if c.SQL == nil && c.Kubernetes != nil {
		return !c.Kubernetes.Known || c.Kubernetes.Sensitive
	}
	if c.SQL == nil && c.SSH != nil {
		return !c.SSH.Known
	}
	return c.SQL == nil || !c.SQL.Known || c.SQL.Sensitive || c.SQL.SensitiveParameters
}

// hash stands for a redacted constant: 64 bits of a keyed hash, so that equal constants
// can be recognised and nobody without the key can try values.
func (s *Session) hash(b []byte) string { return hex.EncodeToString(s.mac(b)[:8]) }

func (s *Session) mac(b []byte) []byte {
	m := hmac.New(sha256.New, s.c.RedactKey)
	m.Write(b)
	return m.Sum(nil)
}

// digest is the HMAC-SHA-256 over the exact command, its parameters and its context, each
// part preceded by its length so that no two commands share an input. It is keyed because
// it stands beside the redacted command: without a key, a constant could be found by trying.
func (s *Session) digest(c *policy.Command) string {
	h := hmac.New(sha256.New, s.c.RedactKey)
	part := func(b []byte) {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(b)))
		h.Write(n[:])
		h.Write(b)
	}
	part([]byte(c.Engine))
	part(c.Text)
	part(strconv.AppendInt(nil, int64(len(c.Parameters)), 10))
	for _, p := range c.Parameters {
		part(fmt.Appendf(nil, "%d %t %t", p.Type, p.Null, p.Binary))
		part([]byte(p.Text))
	}
	for _, k := range slices.Sorted(maps.Keys(c.Context)) {
		part([]byte(k))
		part([]byte(c.Context[k]))
	}
	return hex.EncodeToString(h.Sum(nil))
}

func refusalOf(d policy.Decision) *policy.Refusal {
	if d.Refusal != nil {
		return d.Refusal
	}
	return &policy.Refusal{Code: policy.CodeUnknownCommand, Message: "the command is denied", Hint: "ask an administrator"}
}

func ruleNames(rs []v1alpha1.RuleReference) []string {
	var names []string
	for _, r := range rs {
		names = append(names, policy.RuleName(r))
	}
	return names
}
