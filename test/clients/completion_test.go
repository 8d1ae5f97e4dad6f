package clients

import (
	"io"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cardea-dev/cardea/test/gatetest"
	"github.com/cardea-dev/cardea/test/pgtest"
)

// completions are what is typed before the tabulator key, and what psql then writes. Each
// is another query, or another part of one.
var completions = map[string]string{
	"select * from custom":                         "ers ",
	"select * from archive.or":                     "ders",
	"update ord":                                   "ers ",
	"insert into pla":                              "in ",
	"delete from custome":                          "rs ",
	"truncate pla":                                 "in ",
	"select * from totals_k":                       "ept ",
	"alter table custo":                            "mers ",
	"alter table customers drop column em":         "ail ",
	"alter table orders alter column no":           "te ",
	"alter table customers drop constraint custom": "ers_pkey ",
	"alter sequence numb":                          "ers ",
	"alter type mo":                                "",
	"alter type mood rename value 'lo":             "w' ",
	"alter domain posi":                            "tive ",
	"drop view tot":                                "als ",
	"drop index orders_tot":                        "al ",
	"drop schema arch":                             "ive ",
	"drop function tw":                             "ice ",
	"drop trigger stam":                            "ped ",
	"alter role ap":                                "p ",
	"drop materialized view totals":                "_kept ",
	"comment on column orders.to":                  "",
	"create index on orders (tot":                  "al ",
	"select no":                                    "",
	"set work_m":                                   "em ",
	"show search_p":                                "ath ",
	"grant select on table custom":                 "ers ",
	"analyze custom":                               "ers ",
	"copy custom":                                  "ers ",
	"lock table custom":                            "ers ",
	"reindex index orders_tot":                     "al ",
	"explain select * from custo":                  "mers ",
	"refresh materialized view tot":                "als_kept ",
	`\d custom`:                                    "ers",
	`\dt custom`:                                   "ers ",
	`\dv tot`:                                      "als ",
	`\df twi`:                                      "ce ",
	`\sf twi`:                                      "ce ",
	`\sv tota`:                                     "ls ",
	`\dn arch`:                                     "ive ",
	`\dT moo`:                                      "d ",
	`\du ap`:                                       "p ",
	`\dD posi`:                                     "tive ",
	`\ds numb`:                                     "ers ",
	`\c sho`:                                       "p ",
	"alter foreign table no":                       "",
	"create trigger x before insert on pla":        "in ",
	"create publication p for table custo":         "mers ",
	"alter default privileges in schema arch":      "ive ",
	"alter database sho":                           "p ",
	"alter text search configuration engl":         "ish ",
	"create table t (like custo":                   "",
	"alter table events detach partition events_20":  "26 ",
	"alter table archive.orders set tablespace pg_d": "efault ",
}

func TestPsqlCompletes(t *testing.T) {
	script := need(t, "script")
	s := start(t)
	complete := func(t *testing.T, environment []string) {
		tty := openTerminal(t, append(environment, "TERM=dumb"), script, pgtest.Bin(t, "psql")+" -X")
		tty.until("=> ")
		for typed, want := range completions {
			// An end that no completion has says when it is done; the line is then thrown away.
			tty.write(typed + "\t#\x15\x0b")
			if shown := strings.ReplaceAll(tty.until("#"), "\a", ""); want != "" && !strings.HasSuffix(shown, typed+want+"#") {
				t.Errorf("%q is completed to %q, want %q", typed, shown, want)
			}
		}
	}
	t.Run("without the gate", func(t *testing.T) { complete(t, direct(s)) })
	gates(t, s, func(t *testing.T, g *gatetest.Gate, _ bool) {
		complete(t, g.Environment(database))
		nothingRefused(t, g)
	})
}

// terminal is a program at a terminal.
type terminal struct {
	t  *testing.T
	in io.Writer

	mu   sync.Mutex
	more *sync.Cond
	out  strings.Builder
	seen int
	end  bool
}

func openTerminal(t *testing.T, environment []string, script, command string) *terminal {
	t.Helper()
	tty := &terminal{t: t}
	tty.more = sync.NewCond(&tty.mu)
	cmd := exec.Command(script, "-qfec", command, "/dev/null")
	cmd.Env = environment
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	tty.in = in
	cmd.Stdout, cmd.Stderr = tty, tty
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	late := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	done := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		tty.mu.Lock()
		defer tty.mu.Unlock()
		tty.end = true
		tty.more.Broadcast()
		close(done)
	}()
	t.Cleanup(func() { late.Stop(); in.Close(); _ = cmd.Process.Kill(); <-done })
	return tty
}

// Write implements io.Writer.
func (t *terminal) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.out.Write(p)
	t.more.Broadcast()
	return len(p), nil
}

func (t *terminal) write(s string) {
	t.t.Helper()
	if _, err := io.WriteString(t.in, s); err != nil {
		t.t.Fatalf("the terminal is gone: %v", err)
	}
}

// until waits for a text and returns what was shown since the last one.
func (t *terminal) until(text string) string {
	t.t.Helper()
	t.mu.Lock()
	defer t.mu.Unlock()
	for {
		rest := t.out.String()[t.seen:]
		if i := strings.Index(rest, text); i >= 0 {
			t.seen += i + len(text)
			return rest[:i+len(text)]
		}
		if t.end {
			t.t.Fatalf("the terminal ends without %q: %q", text, rest)
		}
		t.more.Wait()
	}
}
