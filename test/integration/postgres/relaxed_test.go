package postgres

import (
	"context"
	"strings"
	"testing"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/engine/postgres"
	"github.com/cardea-dev/cardea/test/pgtest"
)

// relaxed lets the rules that masking added admit comparisons and expressions.
func relaxed() option {
	return func(g *gate, _ *postgres.Config) {
		for _, r := range g.input.MaskingRules {
			r.Spec.Predicates, r.Spec.Expressions = v1alpha1.PredicatesEquality, v1alpha1.ExpressionsMaskOutput
		}
	}
}

// TestG3RelaxedRules looks at what comes through a gate whose rules admit more than plain
// output: a mask that keeps some characters keeps the same ones, whatever a slice shows.
func TestG3RelaxedRules(t *testing.T) {
	server := pgtest.Start(t)
	server.Exec(t, "postgres", "create table people (id int, email text, number bigint); insert into people values (1, 'secret.person@example.com', 4111111111111111)")
	g := start(t, server, masking(v1alpha1.MaskFunction{Partial: &v1alpha1.PartialFunction{KeepLast: 4}}, "public.people.email", "public.people.number"), relaxed())
	conn := connect(t, g.uri(g.grant("agent", v1alpha1.AccessReadOnly), "postgres", ""))
	for text, want := range map[string]string{
		"select upper(email) from people":                                       "*********************.COM",
		"select left(email, 10) from people":                                    "[redacted]",
		"select right(left(email, 12), 4) from people":                          "[redacted]",
		"select 'x' || email from people":                                       "[redacted]",
		"select length(email) from people":                                      "NULL",
		"select email from people where email = 'no'":                           "",
		"select email from people where email in ('secret.person@example.com')": "*********************.com",
	} {
		rows, err := conn.Query(context.Background(), text)
		if err != nil {
			t.Fatal(err)
		}
		var got []byte
		for rows.Next() {
			if v := rows.RawValues()[0]; v != nil {
				got = append(got, v...)
			} else {
				got = append(got, "NULL"...)
			}
		}
		if rows.Err() != nil || string(got) != want {
			t.Errorf("%s: %q, %v, want %q", text, got, rows.Err(), want)
		}
	}
	var id int
	if err := conn.QueryRow(context.Background(), "select id from people where email = $1", "secret.person@example.com").Scan(&id); err != nil || id != 1 {
		t.Errorf("a comparison with a parameter: %d, %v", id, err)
	}
	// As real, numbers that differ are equal to one that stands for them all.
	const compare = "select id from people where number = $1"
	for declared, wants := range map[uint32]string{20: "1", 1700: "1", 0: "1", 700: "CDA-2004", 701: "CDA-2004"} {
		got := ""
		result := conn.PgConn().ExecParams(context.Background(), compare, [][]byte{[]byte("4111111111111111")}, []uint32{declared}, nil, nil).Read()
		if result.Err != nil {
			got = result.Err.Error()
		} else if len(result.Rows) == 1 {
			got = string(result.Rows[0][0])
		}
		if got != wants && (len(wants) == 1 || !strings.Contains(got, wants)) {
			t.Errorf("a parameter declared with type %d: %q, want %q", declared, got, wants)
		}
	}
	if events := g.events(t); strings.Contains(events, "secret.person") {
		t.Error("what was compared with the masked column is in the recording")
	}
}
