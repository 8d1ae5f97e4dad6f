package policy

import (
	"strings"
	"testing"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/kubeapi"
	"github.com/cardea-dev/cardea/proxy/shell"
)

func execOf(line string) kubeapi.Facts {
	return kubeapi.Facts{Verb: "create", Resource: "pods", Subresource: "exec", Namespace: "shop", Name: "web", Stream: &kubeapi.Stream{Stdout: true}, Shell: shell.Line(line, shell.POSIX)}
}

func shellRule(name string, action v1alpha1.RuleAction, m v1alpha1.ShellMatch) *v1alpha1.CommandRule {
	r := makeCommandRule("shop-gate", name, action)
	r.Spec.Match = []v1alpha1.CommandMatch{{Shell: &m}}
	return r
}

func commandsGrant(p *v1alpha1.KubernetesPermissions) { p.Exec = v1alpha1.ExecCommands }
func rawGrant(p *v1alpha1.KubernetesPermissions)      { p.Exec = v1alpha1.ExecRaw }

// What may run is a list, and nothing gets by it.
func TestShellExcept(t *testing.T) {
	rules := requestRulesOf(t, rawGrant, shellRule("list", v1alpha1.ActionDeny, v1alpha1.ShellMatch{Except: []string{
		"ls", "cat /var/log/*", "systemctl status *", "grep", "sudo systemctl restart nginx", "systemctl restart nginx", "find **", "tail -n * /var/log/app.log", "/opt/x y"}}))
	for line, want := range map[string]Action{
		"ls":                                Allow,
		"ls -la /":                          Allow,
		"ls $HOME":                          Allow,
		"ls $(ls)":                          Allow,
		"ls $(id)":                          Deny,
		"ls | grep x":                       Allow,
		"ls; id":                            Deny,
		"ls > x":                            Deny,
		"ls 2>/dev/null":                    Allow,
		"cat /var/log/syslog":               Allow,
		"cat /var/log/../../etc/shadow":     Deny,
		"cat /var/log/x /etc/shadow":        Deny,
		"cat /var/log/$x":                   Deny,
		"cat /var/log/*":                    Deny,
		"cat":                               Deny,
		"/tmp/ls":                           Deny,
		"./ls":                              Deny,
		"systemctl status nginx":            Allow,
		"systemctl status":                  Deny,
		"systemctl status --root=/x":        Deny,
		"systemctl restart nginx":           Allow,
		"sudo systemctl restart nginx":      Allow,
		"sudo -u x systemctl restart nginx": Deny,
		"sudo ls":                           Deny,
		"nice ls":                           Allow,
		"sh -c ls":                          Allow,
		"sh -c 'ls; id'":                    Deny,
		"sh x":                              Deny,
		"sh":                                Deny,
		"eval $x":                           Deny,
		"find . -exec ls {} +":              Allow,
		"find . -exec rm {} +":              Deny,
		"find . | xargs ls":                 Deny,
		"PATH=/tmp ls":                      Deny,
		"tail -n 5 /var/log/app.log":        Allow,
		"tail -n -5 /var/log/app.log":       Deny,
		"/opt/x y":                          Allow,
		"x y":                               Deny,
	} {
		f := execOf(line)
		if d := rules.Decide(ask(f)); d.Action != want {
			t.Errorf("%s: %+v (%+v)", line, d, f.Shell)
		}
	}
	attach := execOf("ls")
	attach.Subresource, attach.Shell = "attach", nil
	if d := rules.Decide(ask(attach)); d.Action != Deny {
		t.Errorf("attach: %+v", d)
	}
}

// A rule that refuses or holds matches in doubt.
func TestShellCommands(t *testing.T) {
	rules := requestRulesOf(t, commandsGrant,
		shellRule("no", v1alpha1.ActionDeny, v1alpha1.ShellMatch{Commands: []string{"rm", "dd ** of=/dev/*", "/sbin/fdisk", "kubectl delete **"}}),
		shellRule("hold", v1alpha1.ActionRequireApproval, v1alpha1.ShellMatch{Commands: []string{"systemctl restart **"}}))
	for line, want := range map[string]Action{
		"ls":                        Allow,
		"rm":                        Deny,
		"rm -rf /":                  Deny,
		"/bin/rm x":                 Deny,
		"./rm x":                    Deny,
		"ls; rm x":                  Deny,
		"ls $(rm x)":                Deny,
		"sh -c 'ls; rm -rf /'":      Deny,
		"sudo rm x":                 Deny,
		"busybox rm x":              Deny,
		"find . -exec rm {} +":      Deny,
		"echo x | xargs rm":         Deny,
		"rmdir x":                   Allow,
		"dd if=x of=/dev/sda":       Deny,
		"dd if=x $y":                Deny,
		"dd if=x of=y":              Allow,
		"fdisk x":                   Allow, // the pattern names one file
		"/sbin/fdisk x":             Deny,
		"systemctl restart nginx":   RequireApproval,
		"systemctl $x":              RequireApproval,
		"systemctl status nginx":    Allow,
		"systemctl restart x; rm y": Deny,
		"$x":                        Deny,
		"python3 -c 'x'":            Deny,
		"python3 x.py":              Allow,
		"":                          Deny,
	} {
		f := execOf(line)
		if d := rules.Decide(ask(f)); d.Action != want {
			t.Errorf("%s: %+v (%+v)", line, d, f.Shell)
		}
	}
}

// What is not understood needs a rule, or a grant of Raw.
func TestShellUnknown(t *testing.T) {
	unknown := v1alpha1.ShellMatch{Unknown: v1alpha1.ShellUnknownAny}
	awk := v1alpha1.ShellMatch{Commands: []string{"awk '{print $1}' **"}}
	no := shellRule("no", v1alpha1.ActionDeny, v1alpha1.ShellMatch{Commands: []string{"rm"}})
	for name, tc := range map[string]struct {
		grant func(*v1alpha1.KubernetesPermissions)
		rules []*v1alpha1.CommandRule
		line  string
		want  Action
	}{
		"nothing allows it":              {commandsGrant, nil, "$x", Deny},
		"Raw":                            {rawGrant, nil, "$x", Allow},
		"Raw, and a rule":                {rawGrant, []*v1alpha1.CommandRule{no}, "rm x; $y", Deny},
		"allowed":                        {commandsGrant, []*v1alpha1.CommandRule{shellRule("a", v1alpha1.ActionAllow, unknown)}, "$x", Allow},
		"allowed, but for what is found": {commandsGrant, []*v1alpha1.CommandRule{shellRule("a", v1alpha1.ActionAllow, unknown), no}, "rm x; $y", Deny},
		"held":                           {commandsGrant, []*v1alpha1.CommandRule{shellRule("a", v1alpha1.ActionRequireApproval, unknown)}, "$x", RequireApproval},
		"understood, not held":           {commandsGrant, []*v1alpha1.CommandRule{shellRule("a", v1alpha1.ActionRequireApproval, unknown)}, "ls", Allow},
		"code held":                      {commandsGrant, []*v1alpha1.CommandRule{shellRule("a", v1alpha1.ActionRequireApproval, unknown)}, "perl -e x", RequireApproval},
		"code that is named":             {commandsGrant, []*v1alpha1.CommandRule{shellRule("a", v1alpha1.ActionAllow, awk)}, "cat x | awk '{print $1}'", Allow},
		"other code":                     {commandsGrant, []*v1alpha1.CommandRule{shellRule("a", v1alpha1.ActionAllow, awk)}, "cat x | awk '{system($1)}'", Deny},
		"that code and other":            {commandsGrant, []*v1alpha1.CommandRule{shellRule("a", v1alpha1.ActionAllow, awk)}, "awk '{print $1}' | perl -e x", Deny},
		"that code and a file":           {commandsGrant, []*v1alpha1.CommandRule{shellRule("a", v1alpha1.ActionAllow, awk)}, "awk '{print $1}' x > y", Deny},
		"that code and what is unknown":  {commandsGrant, []*v1alpha1.CommandRule{shellRule("a", v1alpha1.ActionAllow, awk)}, "awk '{print $1}'; $x", Deny},
		"exec that is not granted":       {nil, []*v1alpha1.CommandRule{shellRule("a", v1alpha1.ActionAllow, unknown)}, "ls", Deny},
	} {
		f := execOf(tc.line)
		if d := requestRulesOf(t, tc.grant, tc.rules...).Decide(ask(f)); d.Action != tc.want {
			t.Errorf("%s: %+v (%+v)", name, d, f.Shell)
		}
	}
	f := execOf("ls")
	f.Shell = nil
	if d := requestRulesOf(t, commandsGrant).Decide(ask(f)); d.Action != Deny || !strings.Contains(d.Refusal.Message, "not known") {
		t.Errorf("an exec of which nothing is known: %+v", d)
	}
}

// A rule about programs and requests is about those requests alone.
func TestShellWithinRequests(t *testing.T) {
	r := shellRule("no", v1alpha1.ActionDeny, v1alpha1.ShellMatch{Commands: []string{"ls"}})
	r.Spec.Match[0].Kubernetes = &v1alpha1.KubernetesMatch{Names: []string{"db-*"}}
	rules := requestRulesOf(t, commandsGrant, r)
	f := execOf("ls")
	if d := rules.Decide(ask(f)); d.Action != Allow {
		t.Errorf("%+v", d)
	}
	f = execOf("ls")
	f.Name = "db-0"
	if d := rules.Decide(ask(f)); d.Action != Deny {
		t.Errorf("%+v", d)
	}
	if d := rules.Decide(ask(kubeapi.Facts{Verb: "get", Resource: "pods", Namespace: "shop", Name: "db-0"})); d.Action != Allow {
		t.Errorf("%+v", d)
	}
}

func TestShellPatternsThatAreWrong(t *testing.T) {
	for name, m := range map[string]v1alpha1.ShellMatch{
		"nothing": {}, "two": {Commands: []string{"a"}, Except: []string{"b"}}, "another unknown": {Unknown: "Some"}, "no program": {Commands: []string{" "}}, "an empty program": {Commands: []string{"'' x"}},
		"a quote": {Commands: []string{"a 'b"}}, "everything": {Commands: []string{"**"}}, "too long": {Except: []string{strings.Repeat("x", 300)}}, "too many": {Except: strings.Split(strings.Repeat("x ", 70), " ")},
	} {
		if _, err := compileMatch(v1alpha1.CommandMatch{Shell: &m}, false); err == nil {
			t.Errorf("%s compiles", name)
		}
	}
	if _, err := compileMatch(v1alpha1.CommandMatch{Shell: &v1alpha1.ShellMatch{Except: []string{"a"}}}, true); err == nil {
		t.Error("except compiles in a rule that allows")
	}
	if _, err := compileMatch(v1alpha1.CommandMatch{Shell: &v1alpha1.ShellMatch{Commands: []string{"a"}}, SQL: &v1alpha1.SQLMatch{Writes: "Any"}}, false); err == nil {
		t.Error("shell compiles with sql")
	}
}

// The pattern of one word is about any arguments, and a quote keeps a space.
func TestCommandPattern(t *testing.T) {
	words := func(list ...string) []shell.Word {
		var out []shell.Word
		for _, w := range list {
			text, open := strings.CutPrefix(w, "~")
			out = append(out, shell.Word{Text: text, Literal: !open})
		}
		return out
	}
	for _, tc := range []struct {
		pattern          string
		words            []shell.Word
		certain, perhaps bool
	}{
		{"a", words("a"), true, true},
		{"a", words("a", "b", "~c"), true, true},
		{"a b", words("a", "b"), true, true},
		{"a b", words("a", "b", "c"), false, false},
		{"a b", words("a", "~x"), false, true},
		{"a b", words("a", "~x", "b"), false, true},
		{"a b", words("a", "b", "~x"), false, true},
		{"a b c", words("a", "~x"), false, true},
		{"a b c", words("a", "~x", "d"), false, false},
		{"a ** c", words("a", "c"), true, true},
		{"a ** c", words("a", "b", "~x", "c"), true, true},
		{"a ** c", words("a", "b"), false, false},
		{"a 'b c'", words("a", "b c"), true, true},
		{"a \"b * c\"", words("a", "b x c"), true, true},
		{"a *", words("a", "-x"), false, true},
		{"a -*", words("a", "-x"), true, true},
		{"a /x/*", words("a", "/x/../y"), false, true},
		{"a /x/../y", words("a", "/x/../y"), true, true},
		{"a", words("/bin/a"), false, true},
		{"*", words("/bin/a", "b"), true, true},
		{"*", words("../a"), false, true},
		{"/bin/*", words("/bin/a"), true, true},
	} {
		p, err := compilePatterns("x", []string{tc.pattern})
		if err != nil {
			t.Fatal(err)
		}
		if got := p[0].matches(tc.words); got != tc.certain {
			t.Errorf("%q matches %v: %t", tc.pattern, tc.words, got)
		}
		if got := p[0].mayMatch(tc.words); got != tc.perhaps {
			t.Errorf("%q may match %v: %t", tc.pattern, tc.words, got)
		}
	}
}

// A gated shell is opened by no rule about what is started; its lines are decided on one by
// one, and only under a grant of Gated.
func TestGatedShells(t *testing.T) {
	few := makeCommandRule("shop-gate", "few", v1alpha1.ActionDeny)
	few.Spec.Match = []v1alpha1.CommandMatch{{Shell: &v1alpha1.ShellMatch{Except: []string{"ls", "touch"}}}}
	hold := makeCommandRule("shop-gate", "ask", v1alpha1.ActionRequireApproval)
	hold.Spec.Match = []v1alpha1.CommandMatch{{Shell: &v1alpha1.ShellMatch{Commands: []string{"touch"}}}}
	entry := makeCommandRule("shop-gate", "entry", v1alpha1.ActionRequireApproval)
	entry.Spec.Match = []v1alpha1.CommandMatch{{Kubernetes: &v1alpha1.KubernetesMatch{Resources: []string{"pods/exec"}}}}
	none := makeCommandRule("shop-gate", "none", v1alpha1.ActionDeny)
	none.Spec.Match = entry.Spec.Match
	opens := func(f *kubeapi.Facts) { f.Opens, f.Shell = true, shell.Argv([]string{"sh"}) }
	line := func(text string) func(*kubeapi.Facts) {
		return func(f *kubeapi.Facts) { f.Line, f.Shell = true, shell.Line(text, shell.POSIX) }
	}
	for name, tc := range map[string]struct {
		mode  v1alpha1.ExecMode
		rules []*v1alpha1.CommandRule
		what  func(*kubeapi.Facts)
		want  Action
		by    string
	}{
		"opening":                              {v1alpha1.ExecGated, []*v1alpha1.CommandRule{few, hold}, opens, Allow, ""},
		"opening, held":                        {v1alpha1.ExecGated, []*v1alpha1.CommandRule{few, entry}, opens, RequireApproval, "entry"},
		"opening, denied":                      {v1alpha1.ExecGated, []*v1alpha1.CommandRule{none}, opens, Deny, "none"},
		"opening under Commands":               {v1alpha1.ExecCommands, nil, opens, Deny, ""},
		"opening under Raw":                    {v1alpha1.ExecRaw, nil, opens, Deny, ""},
		"a line":                               {v1alpha1.ExecGated, []*v1alpha1.CommandRule{few, hold, entry}, line("ls"), Allow, ""},
		"a line that is held":                  {v1alpha1.ExecGated, []*v1alpha1.CommandRule{few, hold, entry}, line("touch x"), RequireApproval, "ask"},
		"a line that is denied":                {v1alpha1.ExecGated, []*v1alpha1.CommandRule{few, hold}, line("ls; rm x"), Deny, "few"},
		"a line, where all exec is denied":     {v1alpha1.ExecGated, []*v1alpha1.CommandRule{none}, line("ls"), Deny, "none"},
		"a line that is not understood":        {v1alpha1.ExecGated, nil, line("$x"), Deny, ""},
		"a line under Commands":                {v1alpha1.ExecCommands, nil, line("ls"), Deny, ""},
		"a line under Raw":                     {v1alpha1.ExecRaw, nil, line("ls"), Deny, ""},
		"a terminal for something else":        {v1alpha1.ExecGated, nil, func(f *kubeapi.Facts) { f.Shell = shell.Argv([]string{"ls"}) }, Deny, ""},
		"a command without a terminal":         {v1alpha1.ExecGated, []*v1alpha1.CommandRule{few}, func(f *kubeapi.Facts) { f.Shell, f.Stream = shell.Argv([]string{"ls"}), &kubeapi.Stream{Stdout: true} }, Allow, ""},
		"a command that is not understood":     {v1alpha1.ExecGated, nil, func(f *kubeapi.Facts) { f.Shell, f.Stream = shell.Argv([]string{"sh"}), &kubeapi.Stream{Stdout: true} }, Deny, ""},
		"attach":                               {v1alpha1.ExecGated, nil, func(f *kubeapi.Facts) { f.Subresource = "attach" }, Deny, ""},
		"variables alone, which start nothing": {v1alpha1.ExecGated, []*v1alpha1.CommandRule{few}, line("x=5"), Allow, ""},
		"variables with a file":                {v1alpha1.ExecGated, []*v1alpha1.CommandRule{few}, line("x=5 >y"), Deny, "few"},
	} {
		t.Run(name, func(t *testing.T) {
			f := kubeapi.Facts{Verb: "create", Resource: "pods", Subresource: "exec", Namespace: "shop", Name: "x", Stream: &kubeapi.Stream{Stdin: true, Stdout: true, TTY: true}}
			tc.what(&f)
			d := requestRulesOf(t, func(p *v1alpha1.KubernetesPermissions) { p.Exec = tc.mode }, tc.rules...).Decide(ask(f))
			if d.Action != tc.want || tc.by != "" && d.Rule.Name != tc.by {
				t.Errorf("%+v", d)
			}
		})
	}
}
