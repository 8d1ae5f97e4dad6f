package files_test

import (
	"crypto/sha256"
	"testing"

	"github.com/cardea-dev/cardea/proxy/engine/ssh/files"
)

func TestOutcomesInALine(t *testing.T) {
	const digest = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
	x := files.Content{Bytes: 1, Sequential: true, SHA256: sha256.Sum256([]byte("x"))}
	for want, o := range map[string]files.Outcome{
		`Stat "/f"`: {Operation: files.Operation{Action: files.Stat, Path: "/f", Asked: "f"}, Result: files.Succeeded},
		`Rename "/f" to "/g": Failed ("no such file")`:         {Operation: files.Operation{Action: files.Rename, Path: "/f", To: "/g"}, Result: files.Failed, Reason: "no such file"},
		`Remove "a\nb\xff\x1b[2J": Refused ("no\x1b")`:         {Operation: files.Operation{Action: files.Remove, Asked: "a\nb\xff\x1b[2J"}, Result: files.Refused, Reason: "no\x1b"},
		`List "/d": 3 names`:                                   {Operation: files.Operation{Action: files.List, Path: "/d"}, Result: files.Succeeded, Transfer: &files.Transfer{Entries: 3, Closed: true}},
		`Open "/f", 1 bytes read, SHA-256 ` + digest:           {Operation: files.Operation{Action: files.Open, Path: "/f"}, Result: files.Succeeded, Transfer: &files.Transfer{Read: x, Closed: true}},
		`Open "/f", 5 bytes written, not in order, not closed`: {Operation: files.Operation{Action: files.Open, Path: "/f"}, Result: files.Succeeded, Transfer: &files.Transfer{Written: files.Content{Bytes: 5}}},
		`Open "/f", not closed: Unknown`:                       {Operation: files.Operation{Action: files.Open, Path: "/f"}, Result: files.Unknown, Transfer: &files.Transfer{}},
	} {
		if got := o.String(); got != want {
			t.Errorf("%s\nwant %s", got, want)
		}
	}
}
