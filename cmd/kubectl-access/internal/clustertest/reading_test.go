package clustertest

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/recording/store/dir"
	"github.com/cardea-dev/cardea/test/envtest/api/apiserver"
)

// ended gives a Session the end that its recording has.
func ended(t *testing.T, s *v1alpha1.Session, r v1alpha1.SessionRecording) {
	t.Helper()
	s.Status.Recording = r
	s.Status.EndedAt = &metav1.MicroTime{Time: time.Now()}
	s.Status.Commands = v1alpha1.CommandCounters{Forwarded: 1, Denied: 1}
	if err := as(t, proxy).Status().Update(t.Context(), s); err != nil {
		t.Fatal(err)
	}
}

func TestSessionsByWhatTheirRecordingsHold(t *testing.T) {
	s := newSession("reading-kept", "reading-db")
	if err := as(t, proxy).Create(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	ended(t, s, record(t, proxyStore(t), s.Name))
	// The Session of another recording has been pruned.
	record(t, proxyStore(t), "reading-gone")
	const kept, gone = "reading-kept", "reading-gone"
	cases := map[string]struct {
		args []string
		want []string
	}{
		"denied":                  {[]string{"--decision", "denied"}, []string{kept}},
		"held":                    {[]string{"--decision", "Held"}, nil},
		"approved":                {[]string{"--decision", "Approved"}, nil},
		"text":                    {[]string{"--text", "drop DATABASE"}, []string{kept}},
		"no such text":            {[]string{"--text", "vacuum"}, nil},
		"text of pruned ones too": {[]string{"--text", "drop database", "--pruned"}, []string{kept, gone}},
		"pruned and denied":       {[]string{"--decision", "Denied", "--pruned"}, []string{kept, gone}},
		"until":                   {[]string{"--until", "2h"}, nil},
		"a day":                   {[]string{"--since", "2026-01-01"}, []string{kept}},
		"a day that is over":      {[]string{"--since", "2020-01-01", "--until", "2020-01-02T12:00:00Z", "--pruned"}, nil},
		"another subject":         {[]string{"--subject", "x", "--pruned"}, nil},
		"a pruned one's subject":  {[]string{"--subject", "sa", "--pruned"}, []string{gone}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			code, out, errOut := plugin(dora, append([]string{"sessions", "-o", "wide"}, c.args...)...)
			if code != 0 {
				t.Fatalf("exit %d: %s", code, errOut)
			}
			for _, session := range []string{kept, gone} {
				want := strings.Contains(" "+strings.Join(c.want, " ")+" ", " "+session+" ")
				if strings.Contains(out, session) != want {
					t.Errorf("%s listed: %t, want %t\n%s", session, !want, want, out)
				}
			}
		})
	}

	code, out, errOut := plugin(dora, "search", "(?i)drop database", "--target", "reading-db")
	if code != 0 || strings.Count(out, "\n") != 1 || !strings.Contains(out, "reading-kept  4  ") || !strings.Contains(out, `command Denied  DROP DATABASE orders\x1b[2J`) {
		t.Errorf("exit %d\n%s%s", code, out, errOut)
	}
	code, out, _ = plugin(dora, "search", "drop", "-i", "--subject", "sa", "-o", "json")
	var m struct {
		Session, What, Text string
		Event               uint64
	}
	if err := json.Unmarshal([]byte(out), &m); err != nil || code != 0 || m.Session != gone || m.Event != 4 || m.Text != "DROP DATABASE orders\x1b[2J" || strings.Contains(out, "\x1b") {
		t.Errorf("exit %d, %v\n%s", code, err, out)
	}
	if code, out, _ := plugin(dora, "search", `\*\*\*`, "-l", "--target", "reading-db"); code != 0 || out != kept+"\n" {
		t.Errorf("exit %d\n%s", code, out)
	}
	if code, out, errOut := plugin(dora, "search", "no such thing", "--since", "1h"); code != 1 || out+errOut != "" {
		t.Errorf("nothing found: exit %d\n%s%s", code, out, errOut)
	}
}

func TestSearchAFolder(t *testing.T) {
	root := t.TempDir()
	recordings := filepath.Join(root, ".recordings")
	for _, name := range []string{"one", "two"} {
		record(t, dir.New(recordings), name)
	}
	code, out, errOut := plugin(apiserver.User{}, "search", "^DROP", "--dir", root)
	if code != 0 || strings.Count(out, "\n") != 2 || !strings.Contains(out, "one  4  ") || !strings.Contains(out, "two  4  ") {
		t.Errorf("exit %d\n%s%s", code, out, errOut)
	}
	if code, out, _ := plugin(apiserver.User{}, "sessions", "--dir", root, "--decision", "Denied"); code != 0 || !strings.Contains(out, "one") || !strings.Contains(out, "Complete") || !strings.Contains(out, "Ended") || strings.Contains(out, "Unknown") {
		t.Errorf("exit %d\n%s", code, out)
	}
	if err := os.Truncate(filepath.Join(recordings, "two", "000001.json.zst"), 10); err != nil {
		t.Fatal(err)
	}
	if code, out, errOut := plugin(apiserver.User{}, "search", "^DROP", "--dir", root); code != 2 || strings.Count(out, "\n") != 2 || !strings.Contains(errOut, "The recording of two failed verification") {
		t.Errorf("altered: exit %d\n%s%s", code, out, errOut)
	}
}

// TestTail follows a session from before the first of it is stored to its end.
func TestTail(t *testing.T) {
	s := newSession("tailed", "tail-db")
	if err := as(t, proxy).Create(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	type outcome struct {
		code        int
		out, errOut string
	}
	done := make(chan outcome, 1)
	go func() {
		code, out, errOut := plugin(dora, "tail", s.Name)
		done <- outcome{code, out, errOut}
	}()
	ended(t, s, record(t, proxyStore(t), s.Name))
	o := <-done
	if o.code != 0 || !strings.Contains(o.out, "SELECT email FROM customers") || !strings.Contains(o.out, "INTACT: 4 segments, 5 events, complete") || !strings.Contains(o.errOut, "2 to 30 seconds") {
		t.Errorf("%+v", o)
	}
	if code, out, _ := plugin(dora, "tail", s.Name, "-o", "json"); code != 0 || strings.Count(out, "\n") != 5 {
		t.Errorf("after the end: exit %d\n%s", code, out)
	}
}

func TestTerminate(t *testing.T) {
	s := newSession("unwanted", "tail-db")
	if err := as(t, proxy).Create(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if code, out, errOut := plugin(alice, "terminate", s.Name, "--wait", "0"); code != 0 || !strings.Contains(out, "is to end") {
		t.Errorf("exit %d\n%s%s", code, out, errOut)
	}
	if code, _, errOut := plugin(alice, "terminate", s.Name, "--wait", "300ms"); code != 1 || !strings.Contains(errOut, "is its proxy cardea-proxy-1 there") {
		t.Errorf("exit %d\n%s", code, errOut)
	}
	c := as(t, proxy)
	go func() {
		// What the proxy does.
		for range 100 {
			if err := c.Get(t.Context(), client.ObjectKeyFromObject(s), s); err == nil && s.Spec.DesiredState == v1alpha1.SessionTerminated {
				s.Status.EndedAt, s.Status.EndReason = &metav1.MicroTime{Time: time.Now()}, "Terminated"
				if c.Status().Update(t.Context(), s) == nil {
					return
				}
			}
		}
	}()
	if code, out, errOut := plugin(alice, "terminate", s.Name); code != 0 || !strings.Contains(out, "unwanted ended") {
		t.Errorf("exit %d\n%s%s", code, out, errOut)
	}
	if code, out, _ := plugin(alice, "terminate", s.Name); code != 0 || !strings.Contains(out, "ended before, ") {
		t.Errorf("exit %d\n%s", code, out)
	}
}
