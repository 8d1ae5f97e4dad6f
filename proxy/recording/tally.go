package recording

import (
	"bytes"
)

// head is how much of a line is looked at: what an event is, and the decision on a command,
// stand before everything that may be long.
const head = 256

var (
	keyKind     = []byte(`,"kind":"`)
	keyDecision = []byte(`,"decision":"`)
)

// tallyOf counts the events that begin in raw, which are lines as appendEvent writes them.
// rest says that raw begins with the rest of an event.
func tallyOf(raw []byte, rest bool) Tally {
	var t Tally
	if rest {
		_, raw, _ = bytes.Cut(raw, []byte{'\n'})
	}
	for len(raw) > 0 {
		line := raw[:min(len(raw), head)]
		t.Events++
		_, after, _ := bytes.Cut(line, keyKind)
		kind, content, _ := bytes.Cut(after, []byte{'"'})
		switch EventKind(kind) {
		case KindCommand:
			t.Commands++
			_, decision, _ := bytes.Cut(content, keyDecision)
			if bytes.HasPrefix(decision, []byte(decisionDenied+`"`)) {
				t.Denied++
			}
		case KindHeld:
			t.Held++
		default: // counted as an event alone
		}
		_, raw, _ = bytes.Cut(raw, []byte{'\n'})
	}
	return t
}
