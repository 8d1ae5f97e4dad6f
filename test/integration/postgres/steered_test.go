package postgres

import (
	"strings"
	"testing"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/test/pgtest"
)

// TestG3ChecksThatASessionSteers updates rows whose CHECK constraints compare a masked value
// with what the session sets: whether that succeeds would be an answer. A CHECK is asked of
// every row that is written, whatever column is.
func TestG3ChecksThatASessionSteers(t *testing.T) {
	server := pgtest.Start(t)
	checks := map[string]struct{ check, set, want string }{
		"application name":  {"ssn <> current_setting('application_name')", "set application_name = '123-45-6789'", "CDA-2004"},
		"time zone":         {"born::date = day", "set timezone = 'Asia/Tokyo'", "CDA-2004"},
		"date style":        {"born::text like '1990-05-05%'", "set datestyle = 'SQL, DMY'", "CDA-2004"},
		"time of day":       {"born is null or localtime is not null", "set timezone = 'Asia/Tokyo'", "CDA-2004"},
		"path":              {"ssn <> current_schema", "set search_path = public", "CDA-2004"},
		"formats":           {"to_char(born, 'YYYY') > '1900'", "set timezone = 'Asia/Tokyo'", "CDA-2004"},
		"constants of text": {"ssn <> 'x'", "set application_name = 'x'", "UPDATE 1"},
		"now":               {"born < now() and born < clock_timestamp()", "set timezone = 'Asia/Tokyo'", "UPDATE 1"},
		"today":             {"day <= current_date and length(ssn) > 3", "set timezone = 'Asia/Tokyo'", "UPDATE 1"},
		"constants":         {"ssn ~ '^[0-9-]+$' and upper(ssn) = ssn and born < '2100-01-01Z'", "set timezone = 'Asia/Tokyo'", "UPDATE 1"},
		"others":            {"name <> current_setting('application_name')", "set application_name = 'x'", "UPDATE 1"},
	}
	server.Exec(t, "postgres", "create table people (id int primary key, name text, ssn text, born timestamptz, day date); insert into people values (1, 'ada', '123-45-6789', '1990-05-05 23:30Z', '1990-05-05')")
	g := start(t, server, masking(v1alpha1.MaskFunction{Null: &v1alpha1.NullFunction{}}, "*.people.ssn", "*.people.born"))
	c := g.grant("agent", v1alpha1.AccessFull)
	for name, test := range checks {
		t.Run(name, func(t *testing.T) {
			server.Exec(t, "postgres", "set timezone = 'UTC'; alter table people add constraint checks check ("+test.check+")")
			defer server.Exec(t, "postgres", "alter table people drop constraint checks")
			for way, send := range mayProve {
				fe := frontend(t, g, c, "postgres")
				if got := send(fe, test.set); !strings.Contains(got, "SET") {
					t.Fatal(got)
				}
				if got := send(fe, "update people set name = 'b' where id = 1"); !strings.Contains(got, test.want) {
					t.Errorf("%s: want %s, got %s", way, test.want, got)
				}
			}
		})
	}
}
