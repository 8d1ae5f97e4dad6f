package postgres

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTagged(t *testing.T) {
	for name, test := range map[string]struct{ application, grant, session, want string }{
		"plain":               {"psql", "report-agent", "report-agent-x7k2p", "psql [cardea report-agent/report-agent-x7k2p]"},
		"none":                {"", "a", "a-x7k2p", "[cardea a/a-x7k2p]"},
		"a mark of its own":   {"x [cardea b/b-11111]", "a", "a-x7k2p", "x (cardea b/b-11111) [cardea a/a-x7k2p]"},
		"not ASCII":           {"bücher\n", "a", "a-x7k2p", "b?cher? [cardea a/a-x7k2p]"},
		"a long application":  {strings.Repeat("x", 63), "a", "a-x7k2p", strings.Repeat("x", 44) + " [cardea a/a-x7k2p]"},
		"a long grant":        {"psql", strings.Repeat("g", 30), strings.Repeat("g", 30) + "-x7k2p", "psql [cardea " + strings.Repeat("g", 30) + "-x7k2p]"},
		"a grant of any size": {"psql", strings.Repeat("g", 63), strings.Repeat("g", 57) + "-x7k2p", "[cardea " + strings.Repeat("g", 48) + "-x7k2p]"},
	} {
		t.Run(name, func(t *testing.T) {
			got := tagged(test.application, test.grant, test.session)
			if len(got) > maxName || !strings.HasSuffix(got, "-x7k2p]") {
				t.Errorf("%q has %d bytes", got, len(got))
			}
			if got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestOptionSettings(t *testing.T) {
	for options, want := range map[string][]parameter{
		"":                                    nil,
		"  \t ":                               nil,
		"-c a=b":                              {{"a", "b"}},
		"-ca=b -c  c=d":                       {{"a", "b"}, {"c", "d"}},
		"--search-path=x":                     {{"search_path", "x"}},
		`-c search_path=a\,\ b -c x=\\`:       {{"search_path", "a, b"}, {"x", `\`}},
		"-c a=b=c":                            {{"a", "b=c"}},
		"-c a= --b=":                          {{"a", ""}, {"b", ""}},
		"-c application_name=x -c role=admin": {{"application_name", "x"}, {"role", "admin"}},
	} {
		got, ok := optionSettings(options)
		if !ok {
			t.Errorf("%q is not understood", options)
		}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(parameter{})); diff != "" {
			t.Errorf("%q: %s", options, diff)
		}
	}
	for _, options := range []string{"-c", "-c a", "a=b", "-d 3", "-r", "--", "--=x", "-c =x", "-c a=b x", strings.Repeat("-ca=b ", maxParameters+1)} {
		if got, ok := optionSettings(options); ok {
			t.Errorf("%q is understood as %v", options, got)
		}
	}
}

// What is said by itself overrides what options say.
func TestOptionsOfStartup(t *testing.T) {
	body := "user\x00agent\x00application_name\x00own\x00options\x00-c application_name=other -c datestyle=iso\x00\x00"
	s, err := parseStartup(protocol30, []byte(body))
	if err != nil || s.get("application_name") != "own" || s.get("DateStyle") != "iso" || s.get("options") != "" {
		t.Errorf("%+v, %v", s, err)
	}
	s, err = parseStartup(protocol30, []byte("user\x00agent\x00options\x00-d 3\x00\x00"))
	if err != nil || s.get("options") != "-d 3" {
		t.Errorf("%+v, %v", s, err)
	}
}
