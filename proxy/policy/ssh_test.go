package policy

import (
	"slices"
	"testing"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/shell"
	"github.com/cardea-dev/cardea/proxy/sshapi"
)

const hostKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAjuBYZOeTMYaX8z7fcWYOogL2ZSHWFn9u3bBhW8QqKl"

// sshAdmission admits a session with an SSH server, whose grant names login deploy.
func sshAdmission(t *testing.T, change func(*v1alpha1.SSHTarget, *v1alpha1.SSHPermissions), rules ...*v1alpha1.CommandRule) (*Admission, error) {
	t.Helper()
	in := makeInput()
	in.CommandRules, in.MaskingRules = rules, nil
	target, grant := in.Targets[0], in.Grants[0]
	target.Spec.Requires, target.Spec.Postgres = nil, nil
	target.Spec.SSH = &v1alpha1.SSHTarget{Host: "h", Port: 22, HostKeys: []string{hostKey}, Logins: []string{"deploy", "root"},
		Key: &v1alpha1.SSHKey{SecretRef: v1alpha1.ObjectName{Name: "k"}}, AgentForwarding: v1alpha1.SSHAgentDenied}
	grant.Spec.Postgres = nil
	grant.Spec.SSH = &v1alpha1.SSHPermissions{Logins: []string{"deploy"}, Channels: []v1alpha1.SSHChannel{v1alpha1.SSHExec}, Terminal: v1alpha1.SSHGated}
	if change != nil {
		change(target.Spec.SSH, grant.Spec.SSH)
	}
	r := makeRequest()
	r.Engine, r.Database, r.Login = engineSSH, "", "deploy"
	return Compile(in).Admit(r, noon)
}

func askSSH(f sshapi.Facts) *Command {
	f.Known = true
	if f.Login == "" {
		f.Login = "deploy"
	}
	return &Command{Engine: engineSSH, SSH: &f}
}

func onHost(text string) sshapi.Facts {
	return sshapi.Facts{Channel: v1alpha1.SSHExec, Shell: shell.Line(text, shell.Login)}
}

func fileOf(access v1alpha1.FileAccess, paths ...string) sshapi.Facts {
	return sshapi.Facts{Channel: v1alpha1.SSHSFTP, File: &sshapi.File{Access: []v1alpha1.FileAccess{access}, Paths: paths, Asked: paths, Resolved: true}}
}

// What is not in order shuts the Target or the grant.
func TestSSHAdmission(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*v1alpha1.SSHTarget, *v1alpha1.SSHPermissions)
		opens  bool
	}{
		"as it is":               {nil, true},
		"no host key":            {func(s *v1alpha1.SSHTarget, _ *v1alpha1.SSHPermissions) { s.HostKeys = nil }, false},
		"a host key that is one": {func(s *v1alpha1.SSHTarget, _ *v1alpha1.SSHPermissions) { s.HostKeys = []string{"ssh-ed25519 AAAA"} }, false},
		"options before it":      {func(s *v1alpha1.SSHTarget, _ *v1alpha1.SSHPermissions) { s.HostKeys[0] = "cert-authority " + hostKey }, false},
		"two keys in a line":     {func(s *v1alpha1.SSHTarget, _ *v1alpha1.SSHPermissions) { s.HostKeys[0] = hostKey + "\n" + hostKey }, false},
		"two ways to sign in": {func(s *v1alpha1.SSHTarget, _ *v1alpha1.SSHPermissions) {
			s.UserCA = &v1alpha1.SSHUserCA{SecretRef: v1alpha1.ObjectName{Name: "x"}}
		}, false},
		"no way to sign in":           {func(s *v1alpha1.SSHTarget, _ *v1alpha1.SSHPermissions) { s.Key = nil }, false},
		"a login that is not offered": {func(s *v1alpha1.SSHTarget, _ *v1alpha1.SSHPermissions) { s.Logins = []string{"root"} }, false},
		"a login that is not granted": {func(_ *v1alpha1.SSHTarget, p *v1alpha1.SSHPermissions) { p.Logins = []string{"root"} }, false},
		"a wildcard for a login": {func(s *v1alpha1.SSHTarget, p *v1alpha1.SSHPermissions) {
			s.Logins, p.Logins = []string{"*"}, []string{"*"}
		}, false},
		"no channels":                    {func(_ *v1alpha1.SSHTarget, p *v1alpha1.SSHPermissions) { p.Channels = nil }, false},
		"an unknown channel":             {func(_ *v1alpha1.SSHTarget, p *v1alpha1.SSHPermissions) { p.Channels = []v1alpha1.SSHChannel{"X11"} }, false},
		"an unknown terminal":            {func(_ *v1alpha1.SSHTarget, p *v1alpha1.SSHPermissions) { p.Terminal = "" }, false},
		"forwards without their channel": {func(_ *v1alpha1.SSHTarget, p *v1alpha1.SSHPermissions) { p.Forwards = []string{"a:1"} }, false},
		"a channel without forwards":     {func(_ *v1alpha1.SSHTarget, p *v1alpha1.SSHPermissions) { p.Channels[0] = v1alpha1.SSHLocalForward }, false},
		"a forced command and a shell": {func(_ *v1alpha1.SSHTarget, p *v1alpha1.SSHPermissions) {
			p.ForcedCommand, p.Channels = "x", []v1alpha1.SSHChannel{v1alpha1.SSHExec, v1alpha1.SSHShell}
		}, false},
	} {
		if _, err := sshAdmission(t, tc.change); (err == nil) != tc.opens {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSSHDecisions(t *testing.T) {
	all := func(_ *v1alpha1.SSHTarget, p *v1alpha1.SSHPermissions) {
		p.Channels = []v1alpha1.SSHChannel{v1alpha1.SSHExec, v1alpha1.SSHShell, v1alpha1.SSHSFTP, v1alpha1.SSHLocalForward, v1alpha1.SSHRemoteForward, v1alpha1.SSHAgent}
		p.Forwards, p.Listens = []string{"*.internal:5432", "[::1]:80"}, []string{"localhost:8080"}
	}
	raw := func(s *v1alpha1.SSHTarget, p *v1alpha1.SSHPermissions) { all(s, p); p.Terminal = v1alpha1.SSHRaw }
	place := func(c v1alpha1.SSHChannel, host string, port uint32) sshapi.Facts {
		return sshapi.Facts{Channel: c, Host: host, Port: port}
	}
	for name, tc := range map[string]struct {
		change func(*v1alpha1.SSHTarget, *v1alpha1.SSHPermissions)
		facts  sshapi.Facts
		want   Code // of the refusal; empty where it is allowed
	}{
		"a command":                        {nil, onHost("ls | wc -l"), ""},
		"one that is not understood":       {nil, onHost("eval $X"), CodeUnknownCommand},
		"one without facts":                {nil, sshapi.Facts{Channel: v1alpha1.SSHExec}, CodeUnknownCommand},
		"another login":                    {nil, sshapi.Facts{Channel: v1alpha1.SSHExec, Login: "root", Shell: shell.Line("ls", shell.Login)}, CodeNotPermitted},
		"a terminal":                       {all, sshapi.Facts{Channel: v1alpha1.SSHExec, TTY: true, Shell: shell.Line("ls", shell.Login)}, CodeNotPermitted},
		"a terminal, raw":                  {raw, sshapi.Facts{Channel: v1alpha1.SSHExec, TTY: true, Shell: shell.Line("eval $X", shell.Login)}, ""},
		"no channel":                       {all, sshapi.Facts{}, CodeNotPermitted},
		"an unknown channel":               {all, sshapi.Facts{Channel: "X11"}, CodeNotPermitted},
		"a channel that is not granted":    {nil, sshapi.Facts{Channel: v1alpha1.SSHShell, Opens: true}, CodeNotPermitted},
		"a gated shell":                    {all, sshapi.Facts{Channel: v1alpha1.SSHShell, Opens: true, TTY: true}, ""},
		"a line of it":                     {all, sshapi.Facts{Channel: v1alpha1.SSHShell, Line: true, TTY: true, Shell: shell.Line("ls", shell.POSIX)}, ""},
		"a line that is not understood":    {all, sshapi.Facts{Channel: v1alpha1.SSHShell, Line: true, Shell: shell.Line("eval $X", shell.POSIX)}, CodeUnknownCommand},
		"a shell without a terminal":       {all, sshapi.Facts{Channel: v1alpha1.SSHShell}, CodeNotPermitted},
		"a raw shell":                      {raw, sshapi.Facts{Channel: v1alpha1.SSHShell, TTY: true}, ""},
		"a gated shell where it is raw":    {raw, sshapi.Facts{Channel: v1alpha1.SSHShell, Opens: true}, CodeNotPermitted},
		"files":                            {all, fileOf(v1alpha1.FileRead, "/x"), ""},
		"files that are not granted":       {nil, fileOf(v1alpha1.FileRead, "/x"), CodeNotPermitted},
		"an operation without a path":      {all, fileOf(v1alpha1.FileRead), CodeNotPermitted},
		"files without facts":              {all, sshapi.Facts{Channel: v1alpha1.SSHSFTP}, CodeNotPermitted},
		"keys":                             {all, fileOf(v1alpha1.FileWrite, "/home/a/.ssh/authorized_keys"), CodeDeniedByRule},
		"keys by a command":                {nil, onHost("echo k >> ~/.ssh/authorized_keys"), CodeDeniedByRule},
		"keys by tee":                      {nil, onHost("echo k | tee -a /root/.ssh/authorized_keys"), CodeDeniedByRule},
		"keys by dd":                       {nil, onHost("dd of=/root/.ssh/authorized_keys"), CodeDeniedByRule},
		"reading of keys":                  {nil, onHost("cat /root/.ssh/authorized_keys"), ""},
		"a forward":                        {all, place(v1alpha1.SSHLocalForward, "DB.internal", 5432), ""},
		"a forward to IPv6":                {all, place(v1alpha1.SSHLocalForward, "::1", 80), ""},
		"another port":                     {all, place(v1alpha1.SSHLocalForward, "db.internal", 5433), CodeNotPermitted},
		"another host":                     {all, place(v1alpha1.SSHLocalForward, "db.internal.evil", 5432), CodeNotPermitted},
		"port zero":                        {all, place(v1alpha1.SSHLocalForward, "db.internal", 0), CodeNotPermitted},
		"a port beyond":                    {all, place(v1alpha1.SSHLocalForward, "db.internal", 65536+5432), CodeNotPermitted},
		"a wildcard":                       {all, place(v1alpha1.SSHLocalForward, "*.internal", 5432), CodeNotPermitted},
		"a place with another in its name": {all, place(v1alpha1.SSHLocalForward, "a.internal:5432 b.internal", 5432), CodeNotPermitted},
		"listening":                        {all, place(v1alpha1.SSHRemoteForward, "localhost", 8080), ""},
		"listening elsewhere":              {all, place(v1alpha1.SSHRemoteForward, "", 8080), CodeNotPermitted},
		"the agent without the Target's":   {all, sshapi.Facts{Channel: v1alpha1.SSHAgent}, CodeNotPermitted},
		"anything beside a forced command": {func(_ *v1alpha1.SSHTarget, p *v1alpha1.SSHPermissions) { p.ForcedCommand = "x" }, onHost("ls"), CodeNotPermitted},
		"a forced command, whatever it is": {func(_ *v1alpha1.SSHTarget, p *v1alpha1.SSHPermissions) { p.ForcedCommand = "x" }, sshapi.Facts{Channel: v1alpha1.SSHExec, Forced: true, Shell: shell.Line("eval $X", shell.Login)}, ""},
	} {
		a, err := sshAdmission(t, tc.change)
		if err != nil {
			// Agent forwarding without the Target's consent is refused by the operator, not here.
			t.Fatalf("%s: %v", name, err)
		}
		d := a.Rules.Decide(askSSH(tc.facts))
		if tc.want == "" && d.Action != Allow || tc.want != "" && (d.Action != Deny || d.Refusal.Code != tc.want) {
			t.Errorf("%s: %+v, want code %q", name, d, tc.want)
		}
	}
}

// The zero of everything denies.
func TestSSHUnknown(t *testing.T) {
	a, err := sshAdmission(t, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]*Command{
		"no command": nil, "zero command": {}, "no facts": {Engine: engineSSH}, "zero facts": {Engine: engineSSH, SSH: &sshapi.Facts{}},
		"another engine": {Engine: "postgres", SSH: askSSH(onHost("ls")).SSH},
	} {
		if d := a.Rules.Decide(c); d.Action != Deny || d.Refusal == nil {
			t.Errorf("%s: %+v", name, d)
		}
	}
}

func TestFileMatch(t *testing.T) {
	rename := func(from, to string) sshapi.Facts { return fileOf(v1alpha1.FileRename, from, to) }
	tree := fileOf(v1alpha1.FileWrite, "/srv")
	tree.File.Tree = true
	unresolved := fileOf(v1alpha1.FileWrite, "/tmp/x")
	unresolved.File.Resolved = false
	names := sshapi.Facts{Channel: v1alpha1.SSHSFTP, File: &sshapi.File{Paths: []string{"/etc/x"}, Resolved: true}}
	for name, tc := range map[string]struct {
		match  v1alpha1.FileMatch
		facts  sshapi.Facts
		denied bool
	}{
		"a path":                       {v1alpha1.FileMatch{Paths: []string{"/etc/passwd"}}, fileOf(v1alpha1.FileWrite, "/etc/passwd"), true},
		"another path":                 {v1alpha1.FileMatch{Paths: []string{"/etc/passwd"}}, fileOf(v1alpha1.FileWrite, "/etc/passwd2"), false},
		"a star":                       {v1alpha1.FileMatch{Paths: []string{"/home/*/x"}}, fileOf(v1alpha1.FileRead, "/home/a/x"), true},
		"a star is no slash":           {v1alpha1.FileMatch{Paths: []string{"/home/*/x"}}, fileOf(v1alpha1.FileRead, "/home/a/b/x"), false},
		"two stars":                    {v1alpha1.FileMatch{Paths: []string{"/home/**"}}, fileOf(v1alpha1.FileRead, "/home/a/b/x"), true},
		"two stars in the middle":      {v1alpha1.FileMatch{Paths: []string{"/home/**/key"}}, fileOf(v1alpha1.FileRead, "/home/a/b/key"), true},
		"another kind":                 {v1alpha1.FileMatch{Operations: []v1alpha1.FileAccess{v1alpha1.FileWrite}, Paths: []string{"/**"}}, fileOf(v1alpha1.FileRead, "/x"), false},
		"one of two paths":             {v1alpha1.FileMatch{Paths: []string{"/etc/**"}}, rename("/tmp/x", "/etc/x"), true},
		"the folder is renamed":        {v1alpha1.FileMatch{Paths: []string{"/etc/ssl/**"}}, rename("/etc", "/e"), true},
		"a folder of a pattern":        {v1alpha1.FileMatch{Paths: []string{"/home/*/keys/**"}}, rename("/home/a", "/home/b"), true},
		"a folder beside":              {v1alpha1.FileMatch{Paths: []string{"/etc/ssl/**"}}, rename("/etc2", "/e"), false},
		"writing to the folder itself": {v1alpha1.FileMatch{Paths: []string{"/etc/ssl/x"}}, fileOf(v1alpha1.FileAttributes, "/etc"), false},
		"a tree":                       {v1alpha1.FileMatch{Paths: []string{"/srv/app/secret"}}, tree, true},
		"but for":                      {v1alpha1.FileMatch{Except: []string{"/srv/**"}}, fileOf(v1alpha1.FileWrite, "/srv/x"), false},
		"not among but for":            {v1alpha1.FileMatch{Except: []string{"/srv/**"}}, fileOf(v1alpha1.FileWrite, "/srv2/x"), true},
		"one of two not among":         {v1alpha1.FileMatch{Except: []string{"/srv/**"}}, rename("/srv/x", "/x"), true},
		"not resolved":                 {v1alpha1.FileMatch{Paths: []string{"/etc/**"}}, unresolved, true},
		"not resolved, but for":        {v1alpha1.FileMatch{Except: []string{"/tmp/**"}}, unresolved, true},
		"names alone":                  {v1alpha1.FileMatch{Paths: []string{"/etc/**"}}, names, false},
		"a command":                    {v1alpha1.FileMatch{Paths: []string{"/**"}}, onHost("ls /etc"), false},
	} {
		r := makeCommandRule("shop-gate", "files", v1alpha1.ActionDeny)
		r.Spec.Match = []v1alpha1.CommandMatch{{Files: &tc.match}}
		a, err := sshAdmission(t, func(_ *v1alpha1.SSHTarget, p *v1alpha1.SSHPermissions) {
			p.Channels = []v1alpha1.SSHChannel{v1alpha1.SSHExec, v1alpha1.SSHSFTP}
		}, r)
		if err != nil {
			t.Fatal(err)
		}
		if d := a.Rules.Decide(askSSH(tc.facts)); (d.Action == Deny) != tc.denied {
			t.Errorf("%s: %+v", name, d)
		}
	}
}

// Rules of one protocol do not speak of another, and combinations that mean nothing do not compile.
func TestSSHMatchCombinations(t *testing.T) {
	ssh, files := &v1alpha1.SSHMatch{Logins: []string{"*"}}, &v1alpha1.FileMatch{Paths: []string{"/**"}}
	shellMatch, kube := &v1alpha1.ShellMatch{Commands: []string{"rm"}}, &v1alpha1.KubernetesMatch{Verbs: []string{"get"}}
	for name, tc := range map[string]struct {
		match    v1alpha1.CommandMatch
		action   v1alpha1.RuleAction
		compiles bool
	}{
		"ssh":                  {v1alpha1.CommandMatch{SSH: ssh}, v1alpha1.ActionDeny, true},
		"ssh and shell":        {v1alpha1.CommandMatch{SSH: ssh, Shell: shellMatch}, v1alpha1.ActionAllow, true},
		"ssh and files":        {v1alpha1.CommandMatch{SSH: ssh, Files: files}, v1alpha1.ActionDeny, true},
		"ssh alone may not":    {v1alpha1.CommandMatch{SSH: ssh}, v1alpha1.ActionAllow, false},
		"files alone may not":  {v1alpha1.CommandMatch{Files: files}, v1alpha1.ActionAllow, false},
		"files and shell":      {v1alpha1.CommandMatch{Files: files, Shell: shellMatch}, v1alpha1.ActionDeny, false},
		"kubernetes and ssh":   {v1alpha1.CommandMatch{Kubernetes: kube, SSH: ssh}, v1alpha1.ActionDeny, false},
		"kubernetes and files": {v1alpha1.CommandMatch{Kubernetes: kube, Files: files}, v1alpha1.ActionDeny, false},
		"an empty one":         {v1alpha1.CommandMatch{SSH: &v1alpha1.SSHMatch{}}, v1alpha1.ActionDeny, false},
		"a relative path":      {v1alpha1.CommandMatch{Files: &v1alpha1.FileMatch{Paths: []string{"etc/**"}}}, v1alpha1.ActionDeny, false},
		"nothing":              {v1alpha1.CommandMatch{}, v1alpha1.ActionDeny, false},
	} {
		r := makeCommandRule("shop-gate", "r", tc.action)
		r.Spec.Match = []v1alpha1.CommandMatch{tc.match}
		if got := AssessCommandRule(r); got.OK != tc.compiles {
			t.Errorf("%s: %+v", name, got)
		}
	}
	r := makeCommandRule("shop-gate", "r", v1alpha1.ActionDeny)
	r.Spec.Match = []v1alpha1.CommandMatch{{Kubernetes: kube}}
	a, err := sshAdmission(t, nil, r)
	if err != nil {
		t.Fatal(err)
	}
	if d := a.Rules.Decide(askSSH(onHost("ls"))); d.Action != Allow {
		t.Errorf("a rule about Kubernetes denies a command on a host: %+v", d)
	}
}

func TestPermitsVariable(t *testing.T) {
	for name, tc := range map[string]struct {
		names []string
		want  []string // of LANG, LC_ALL, LD_PRELOAD, A, LC_*
	}{
		"as it comes": {nil, []string{"LANG", "LC_ALL"}},
		"its own":     {[]string{"A"}, []string{"A"}},
		"all":         {[]string{"*"}, []string{"LANG", "LC_ALL", "LD_PRELOAD", "A"}},
	} {
		var got []string
		for _, v := range []string{"LANG", "LC_ALL", "LD_PRELOAD", "A", "LC_*", "", "A=B"} {
			if PermitsVariable(&v1alpha1.SSHPermissions{Environment: tc.names}, v) {
				got = append(got, v)
			}
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("%s: %v, want %v", name, got, tc.want)
		}
	}
	if PermitsVariable(nil, "LANG") {
		t.Error("no grant permits a variable")
	}
}
