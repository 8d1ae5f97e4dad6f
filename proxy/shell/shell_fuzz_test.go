package shell

import "testing"

// FuzzLine: no text makes it fail or take long, and what is known is bounded and literal.
func FuzzLine(f *testing.F) {
	for _, p := range pieces {
		f.Add(p+"ls; rm $x", false)
	}
	f.Add("sh -c 'find . -exec sudo -u x timeout 5 rm {} +'", true)
	f.Fuzz(func(t *testing.T, text string, login bool) {
		by := POSIX
		if login {
			by = Login
		}
		facts := Line(text, by)
		if facts.Known != (facts.Unknown == "") || len(facts.Commands) > maxCommands {
			t.Fatalf("%+v", facts)
		}
		for _, c := range facts.Commands {
			if len(c.Words) == 0 || !c.Words[0].Literal || c.Words[0].Text == "" {
				t.Fatalf("%+v", c)
			}
		}
	})
}
