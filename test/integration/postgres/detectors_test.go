package postgres

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	engpg "github.com/cardea-dev/cardea/proxy/engine/postgres"
	"github.com/cardea-dev/cardea/proxy/policy"
	"github.com/cardea-dev/cardea/proxy/recording"
	"github.com/cardea-dev/cardea/test/pgtest"
	"github.com/cardea-dev/cardea/test/wrappers"
)

// found are values that detectors find.
var found = []string{"4111111111111111", "4111 1111 1111 1111", "123-45-6789", "ada@example.com", "GB82 WEST 1234 5698 7654 32", "AKIA" + "IOSFODNN7EXAMPLE"}

const findings = `create table notes(id int primary key, note text, short varchar(40), fixed char(30), doc json, docb jsonb, list text[], tree xml, bytes bytea, big int8, line tstzrange);
insert into notes values (1, 'card 4111 1111 1111 1111, ssn 123-45-6789', 'ada@example.com', '4111111111111111', '{"n": 4111111111111111, "s": "ada@example.com"}', '{"n": [4111111111111111], "s": "\u00e9ada@example.com"}',
	'{"ada@example.com",plain,NULL,"a \"4111 1111 1111 1111\""}', '<a>GB82 WEST 1234 5698 7654 32</a>', '\x00', 7, null),
	(2, 'plain', 'plain', 'plain', '{}', '{}', '{}', '<a/>', '', 8, null);`

func noFinding(t *testing.T, what, text string) {
	t.Helper()
	for _, s := range found {
		if strings.Contains(text, s) {
			t.Errorf("%s holds %q: %s", what, s, text)
		}
	}
}

// detecting adds a MaskingRule without columns.
func detecting(list ...v1alpha1.Detector) option {
	return func(g *gate, _ *engpg.Config) {
		r := wrappers.MakeMaskingRule(namespace, "net", metav1.LabelSelector{MatchLabels: map[string]string{"tier": "prod"}})
		r.Spec.Columns, r.Spec.Detectors = nil, list
		g.input.MaskingRules = append(g.input.MaskingRules, r)
	}
}

func everything() option {
	return detecting(v1alpha1.DetectCreditCard, v1alpha1.DetectSSN, v1alpha1.DetectEmail, v1alpha1.DetectIBAN, v1alpha1.DetectToken)
}

func TestG3DetectorsReplaceWhatTheyFind(t *testing.T) {
	server := pgtest.Start(t)
	server.Exec(t, "postgres", findings)
	const row = `card [card], ssn [ssn]|[email]|[card]              |{"n": "[card]", "s": "[email]"}|{"n": ["[card]"], "s": "[email]"}|{[email],plain,NULL,"a \"[card]\""}|<a>[iban]</a>|7`
	for name, more := range map[string][]option{
		"alone":             {everything()},
		"with masks beside": {everything(), masking(keepLast4(), "*.*.elsewhere")},
	} {
		t.Run(name, func(t *testing.T) {
			g := start(t, server, more...)
			c := g.grant("agent", v1alpha1.AccessFull)
			uri := g.uri(c, "postgres", "")
			conn := connect(t, uri)
			const query = "select note, short, fixed, doc, docb, list, tree, big from notes order by id"
			t.Run("simple", func(t *testing.T) {
				out, errs := psql(t, uri, query+";\n")
				if first, _, _ := strings.Cut(out, "\n"); errs != "" || strings.Join(strings.Fields(first), " ") != strings.Join(strings.Fields(row), " ") {
					t.Errorf("got %q, want %q; stderr %q", first, row, errs)
				}
			})
			t.Run("extended", func(t *testing.T) {
				for _, format := range []int16{0, 1} {
					rows, err := conn.Query(context.Background(), query, pgx.QueryResultFormats{format})
					if err != nil {
						t.Fatal(err)
					}
					var all []string
					for rows.Next() {
						values, err := rows.Values()
						if err != nil {
							t.Fatalf("format %d: %v", format, err)
						}
						for _, v := range values {
							all = append(all, shown(v))
						}
					}
					text := strings.Join(all, "|")
					if rows.Err() != nil || !strings.Contains(text, "[card]") || !strings.Contains(text, "plain") {
						t.Errorf("format %d: %s, %v", format, text, rows.Err())
					}
					noFinding(t, "the result", text)
				}
			})
			t.Run("copy", func(t *testing.T) {
				for _, options := range []string{"text", "csv"} {
					var b bytes.Buffer
					if _, err := conn.PgConn().CopyTo(context.Background(), &b, "copy notes (id, note, short, fixed) to stdout (format "+options+")"); err != nil || !strings.Contains(b.String(), "[card]") {
						t.Errorf("%s: %q, %v", options, b.String(), err)
					}
					noFinding(t, options, b.String())
				}
			})
			t.Run("nobody described", func(t *testing.T) {
				for _, format := range []int16{0, 1} {
					raw := frontend(t, g, c, "postgres")
					raw.send(parse("", "select note, list, docb, id from notes order by id"), bind("", "", format), execute("", 0), sync())
					got := raw.untilReady()
					noFinding(t, "the result", got)
					if strings.Count(got, "DataRow") != 2 || !strings.Contains(got, "plain") {
						t.Errorf("format %d: %s", format, got)
					}
				}
			})
			t.Run("binary copy", func(t *testing.T) {
				var b bytes.Buffer
				_, err := conn.PgConn().CopyTo(context.Background(), &b, "copy notes (id, note, short, fixed) to stdout (format binary)")
				if err != nil || !strings.Contains(b.String(), "plain") {
					t.Errorf("%q, %v", b.String(), err)
				}
				noFinding(t, "binary", b.String())
			})
			noFinding(t, "the recording", g.events(t))
			if !slices.ContainsFunc(g.recorder.Events(), func(e recording.Event) bool { return e.Response != nil && e.Response.Detected > 0 }) {
				t.Error("no record counts what was found")
			}
		})
	}
}

func TestG3DetectorsReadWordsOfTheTarget(t *testing.T) {
	server := pgtest.Start(t)
	server.Exec(t, "postgres", findings)
	g := start(t, server, everything())
	uri := g.uri(g.grant("agent", v1alpha1.AccessFull), "postgres", "")
	config, err := pgx.ParseConfig(uri)
	if err != nil {
		t.Fatal(err)
	}
	var said []string
	config.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { said = append(said, n.Message) }
	config.OnNotification = func(_ *pgconn.PgConn, n *pgconn.Notification) { said = append(said, n.Payload) }
	conn, err := pgx.ConnectConfig(context.Background(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	failure := new(pgconn.PgError)
	if _, err := conn.Exec(context.Background(), "select cast('ada@example.com' as int)"); !errors.As(err, &failure) || !strings.Contains(failure.Message, `"[email]"`) {
		t.Errorf("error = %v", err)
	}
	if _, err := conn.Exec(context.Background(), `drop table if exists "4111 1111 1111 1111"`); err != nil || !strings.Contains(strings.Join(said, ""), `"[card]"`) {
		t.Errorf("said = %q, %v", said, err)
	}
	if _, err := conn.Exec(context.Background(), "listen x"); err != nil {
		t.Fatal(err)
	}
	server.Exec(t, "postgres", "notify x, 'ada@example.com'")
	eventually(t, "the notification arrives", func() bool {
		_, err := conn.Exec(context.Background(), "select 1")
		return err != nil || slices.Contains(said, "[email]")
	})
	for _, e := range g.recorder.Events() {
		if e.Response != nil {
			noFinding(t, "the recording", e.Response.Error)
		}
	}
}

func TestDetectorsWithholdWhatIsTooLong(t *testing.T) {
	server := pgtest.Start(t)
	g := start(t, server, everything(), func(_ *gate, c *engpg.Config) { c.Limits.MaskedRow = 64 << 10 })
	c := g.grant("agent", v1alpha1.AccessFull)
	for name, statement := range map[string]string{
		"a row":  "select repeat('x', 100000)",
		"a line": "copy (select repeat('x', 100000)) to stdout",
	} {
		t.Run(name, func(t *testing.T) {
			out, errs := psql(t, g.uri(c, "postgres", ""), statement+";\n")
			if out != "" || !strings.Contains(errs, string(policy.CodeLimit)) {
				t.Errorf("out = %d bytes, stderr = %q", len(out), errs)
			}
		})
	}
}
