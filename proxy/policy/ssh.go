package policy

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/sshapi"
)

// engineSSH is the name of the protocol, as in Request.Engine.
const engineSSH = "ssh"

// Bounds of SSH Targets and grants, the same as in the API's schema.
const (
	maxLogins   = 32
	maxHostKeys = 8
	maxPlaces   = 32
	maxForced   = 4096
)

var (
	loginPattern = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}\$?$`)
	placePattern = regexp.MustCompile(`^([A-Za-z0-9_.*-]+|\[[0-9A-Fa-f:.]+\]):[1-9][0-9]{0,4}$`)
	variable     = regexp.MustCompile(`^[A-Za-z_*][A-Za-z0-9_*]{0,62}$`)
)

// sshRules decides on what the client of one SSH session asks for.
type sshRules struct {
	rules  *ruleSet
	grant  v1alpha1.RuleReference
	spec   *v1alpha1.SSHPermissions
	target *v1alpha1.SSHTarget
	// detects says that detectors are in force.
	detects bool
}

// Decide decides on one request.
func (s *sshRules) Decide(c *Command) Decision {
	if c == nil || c.Engine != engineSSH || c.SSH == nil || !c.SSH.Known {
		return Decision{Refusal: refuseUnknownSSH(c)}
	}
	f := c.SSH
	d := s.decide(f)
	for _, r := range s.rules.audit {
		if r.concernsSSH(f) {
			d.Audit = append(d.Audit, r.ref)
		}
	}
	return d
}

func refuseUnknownSSH(c *Command) *Refusal {
	r := &Refusal{Code: CodeUnknownCommand, Message: "the request is not understood, and what is not understood is denied",
		Hint: "ask for it in the usual form, or ask an administrator"}
	if c != nil && c.SSH != nil && c.SSH.Unknown != "" {
		r.Message = "the request is denied because it is not understood: " + Printable(c.SSH.Unknown, maxShownText)
	}
	return r
}

func (s *sshRules) decide(f *sshapi.Facts) Decision {
	for _, b := range s.rules.baseline {
		if b.ssh != nil && b.ssh(f) {
			return deniedByBaseline(b)
		}
	}
	for _, r := range s.rules.deny {
		if r.concernsSSH(f) {
			return deniedByRule(r, nil)
		}
	}
	if why := s.beyond(f); why != "" {
		return Decision{Rule: s.grant, Refusal: &Refusal{Code: CodeNotPermitted, Rule: RuleName(s.grant),
			Message: "the grant does not permit " + why, Hint: "ask for a grant that does"}}
	}
	if s.unmaskable(f) {
		return Decision{Rule: s.grant, Refusal: &Refusal{Code: CodeMaskedColumn, Message: "a MaskingRule's detectors mask text of this Target, and what passes here cannot be masked",
			Hint: "read files as text, by a command, which is masked; or ask for a Target that the rule does not select"}}
	}
	exception, refusal := s.start(f)
	if refusal != nil {
		return Decision{Refusal: refusal}
	}
	var best *commandRule
	for _, r := range s.rules.approve {
		if best != nil && (best.root != r.root || !stricter(r.terms, best.terms)) {
			continue
		}
		if f.Line && r.concernsLineSSH(f) || !f.Line && r.concernsSSH(f) {
			best = r
		}
	}
	if best != nil {
		return Decision{Action: RequireApproval, Rule: best.ref, Terms: best.terms, Message: best.message}
	}
	return Decision{Action: Allow, Rule: exception}
}

// beyond says what of a request the grant does not permit; empty if it permits all of it.
func (s *sshRules) beyond(f *sshapi.Facts) string {
	switch {
	case !slices.Contains(s.spec.Logins, f.Login):
		return "login " + shownName(f.Login)
	case s.spec.ForcedCommand != "" && !f.Forced:
		return "anything but its own command"
	case !slices.Contains(s.spec.Channels, f.Channel):
		return "channel " + shownName(string(f.Channel))
	}
	switch f.Channel {
	case v1alpha1.SSHExec, v1alpha1.SSHShell:
		return s.beyondTerminal(f)
	case v1alpha1.SSHSFTP:
		if f.File == nil || len(f.File.Access) > 0 && len(f.File.Paths) == 0 {
			return "an operation on files that is not known"
		}
	case v1alpha1.SSHLocalForward:
		if !permitsPlace(s.spec.Forwards, f) {
			return "a forward to " + Printable(f.Place(), maxShownText)
		}
	case v1alpha1.SSHRemoteForward:
		if !permitsPlace(s.spec.Listens, f) {
			return "a forward from " + Printable(f.Place(), maxShownText)
		}
	case v1alpha1.SSHAgent:
		if s.target.AgentForwarding != v1alpha1.SSHAgentPermitted {
			return "agent forwarding: its Target does not"
		}
	default:
		return "that"
	}
	return ""
}

// unmaskable reports whether something comes back that is of any form, where text is masked.
func (s *sshRules) unmaskable(f *sshapi.Facts) bool {
	if !s.detects {
		return false
	}
	switch f.Channel {
	case v1alpha1.SSHLocalForward, v1alpha1.SSHRemoteForward:
		return true
	case v1alpha1.SSHSFTP:
		return f.File != nil && slices.Contains(f.File.Access, v1alpha1.FileRead)
	case v1alpha1.SSHExec, v1alpha1.SSHShell, v1alpha1.SSHAgent:
	}
	return false
}

// beyondTerminal is about what runs at the server.
func (s *sshRules) beyondTerminal(f *sshapi.Facts) string {
	switch {
	case s.raw():
		// What gates a shell says so: here it would be none.
		if f.Opens || f.Line {
			return "a gated shell"
		}
	case f.Channel == v1alpha1.SSHExec && f.TTY:
		return "a command with a terminal: leave -t away"
	case f.Channel == v1alpha1.SSHShell && !f.Opens && !f.Line:
		return "a shell but for a gated one, in a terminal"
	}
	return ""
}

// raw reports whether terminals are not understood.
func (s *sshRules) raw() bool {
	return s.spec.Terminal == v1alpha1.SSHRaw && slices.Contains(s.spec.Channels, v1alpha1.SSHShell)
}

// start decides on what a request starts. What is not understood needs a grant of raw shells,
// or a rule that allows or holds it, which start returns. The grant's own command is its
// author's to understand.
func (s *sshRules) start(f *sshapi.Facts) (v1alpha1.RuleReference, *Refusal) {
	if !f.Starts() || f.Forced || s.raw() {
		return v1alpha1.RuleReference{}, nil
	}
	started := startedSSH(f)
	why := misunderstood(started)
	if why == "" {
		return v1alpha1.RuleReference{}, nil
	}
	for _, rules := range [...][]*commandRule{s.rules.allow, s.rules.approve} {
		if i := slices.IndexFunc(rules, func(r *commandRule) bool { return r.admitsStartSSH(f) }); i >= 0 {
			return rules[i].ref, nil
		}
	}
	return v1alpha1.RuleReference{}, refuseStart(why)
}

// permitsPlace reports whether a list names the place of a forward. Hosts are compared as they
// are written, without letter case.
func permitsPlace(places []string, f *sshapi.Facts) bool {
	host := f.Host
	if strings.ContainsAny(host, "*\x00 ") || host == "" || f.Port == 0 || f.Port > 65535 {
		return false
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	place := fmt.Sprintf("%s:%d", host, f.Port)
	return slices.ContainsFunc(places, func(p string) bool { return newGlob(p, true).match(place) })
}

// checkSSH says what is wrong with a grant's block by itself.
func checkSSH(p *v1alpha1.SSHPermissions) error {
	if p == nil {
		return nil
	}
	if err := checkLogins("spec.ssh.logins", p.Logins); err != nil {
		return err
	}
	known := []v1alpha1.SSHChannel{v1alpha1.SSHExec, v1alpha1.SSHShell, v1alpha1.SSHSFTP, v1alpha1.SSHLocalForward, v1alpha1.SSHRemoteForward, v1alpha1.SSHAgent}
	if n := len(p.Channels); n == 0 || n > len(known) {
		return fmt.Errorf("spec.ssh.channels: must have 1 to %d items", len(known))
	}
	for i, c := range p.Channels {
		if !slices.Contains(known, c) {
			return fmt.Errorf("spec.ssh.channels[%d]: %q is not Exec, Shell, SFTP, LocalForward, RemoteForward or Agent", i, Printable(string(c), maxShownName))
		}
	}
	if p.Terminal != v1alpha1.SSHGated && p.Terminal != v1alpha1.SSHRaw {
		return fmt.Errorf("spec.ssh.terminal: %q is not Gated or Raw", Printable(string(p.Terminal), maxShownName))
	}
	switch n := len(p.ForcedCommand); {
	case n > maxForced || strings.ContainsRune(p.ForcedCommand, 0):
		return fmt.Errorf("spec.ssh.forcedCommand: must have at most %d bytes, none of them zero", maxForced)
	case n > 0 && !slices.Equal(p.Channels, []v1alpha1.SSHChannel{v1alpha1.SSHExec}):
		return errors.New("spec.ssh.forcedCommand: the only channel must be Exec")
	}
	if len(p.Environment) > maxPlaces || slices.ContainsFunc(p.Environment, func(e string) bool { return !variable.MatchString(e) }) {
		return fmt.Errorf("spec.ssh.environment: must have at most %d names of variables", maxPlaces)
	}
	if err := checkPlaces("spec.ssh.forwards", p.Forwards, slices.Contains(p.Channels, v1alpha1.SSHLocalForward)); err != nil {
		return err
	}
	return checkPlaces("spec.ssh.listens", p.Listens, slices.Contains(p.Channels, v1alpha1.SSHRemoteForward))
}

func checkLogins(field string, logins []string) error {
	if n := len(logins); n == 0 || n > maxLogins {
		return fmt.Errorf("%s: must have 1 to %d items", field, maxLogins)
	}
	for i, l := range logins {
		if !loginPattern.MatchString(l) {
			return fmt.Errorf("%s[%d]: must be the name of an account", field, i)
		}
	}
	return nil
}

func checkPlaces(field string, places []string, wanted bool) error {
	if wanted != (len(places) > 0) || len(places) > maxPlaces {
		return fmt.Errorf("%s: must be set with its channel, and only then, with 1 to %d items", field, maxPlaces)
	}
	for i, p := range places {
		if !placePattern.MatchString(p) {
			return fmt.Errorf("%s[%d]: must be HOST:PORT", field, i)
		}
	}
	return nil
}

// checkSSHTarget says what is wrong with a Target's block by itself.
func checkSSHTarget(t *v1alpha1.SSHTarget) error {
	switch {
	case t.Host == "":
		return errors.New("spec.ssh.host: must be set")
	case t.Port < 1 || t.Port > 65535:
		return errors.New("spec.ssh.port: must be between 1 and 65535")
	case len(t.HostKeys)+len(t.HostCAs) == 0:
		return errors.New("spec.ssh: hostKeys or hostCAs must be set")
	case (t.UserCA == nil) == (t.Key == nil):
		return errors.New("spec.ssh: exactly one of userCA and key must be set")
	case t.KeySecret() == "":
		return errors.New("spec.ssh: the secretRef must name a Secret")
	case t.AgentForwarding != v1alpha1.SSHAgentDenied && t.AgentForwarding != v1alpha1.SSHAgentPermitted:
		return fmt.Errorf("spec.ssh.agentForwarding: %q is not Denied or Permitted", Printable(string(t.AgentForwarding), maxShownName))
	}
	for field, keys := range map[string][]string{"hostKeys": t.HostKeys, "hostCAs": t.HostCAs} {
		if len(keys) > maxHostKeys {
			return fmt.Errorf("spec.ssh.%s: has more than %d items", field, maxHostKeys)
		}
		for i, k := range keys {
			if _, err := HostKey(k); err != nil {
				return fmt.Errorf("spec.ssh.%s[%d]: %w", field, i, err)
			}
		}
	}
	return checkLogins("spec.ssh.logins", t.Logins)
}

// HostKey parses a public key of a Target: one line as in ssh_host_ed25519_key.pub. DSA, short
// RSA and certificates are none.
func HostKey(line string) (ssh.PublicKey, error) {
	key, _, options, rest, err := ssh.ParseAuthorizedKey([]byte(line))
	if err != nil || len(options) > 0 || strings.TrimSpace(string(rest)) != "" {
		return nil, errors.New("must be one public key, as in ssh_host_ed25519_key.pub")
	}
	switch key.Type() {
	case ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521, ssh.KeyAlgoSKED25519, ssh.KeyAlgoSKECDSA256:
		return key, nil
	case ssh.KeyAlgoRSA:
		if len(key.Marshal()) >= minRSA/8 {
			return key, nil
		}
		return nil, fmt.Errorf("must be an RSA key of at least %d bits", minRSA)
	}
	return nil, fmt.Errorf("is a key of type %s: use Ed25519, ECDSA or RSA", Printable(key.Type(), maxShownName))
}

// minRSA is the least length of an RSA key in bits.
const minRSA = 2048

// permittedSSH checks that the grant permits a login of its Target.
func permittedSSH(g *v1alpha1.AccessGrant, t *target, r Request) *Refusal {
	p := g.Spec.SSH
	switch {
	case p == nil:
		return refuse(CodeNotPermitted, g, "permits nothing on an SSH Target: it has no ssh block", "ask for a grant with spec.ssh")
	case !slices.Contains(p.Logins, r.Login):
		return refuse(CodeNotPermitted, g, "does not permit login "+shownName(r.Login), "use a login that the grant names: "+Printable(strings.Join(p.Logins, ", "), maxShownText))
	case !slices.Contains(t.object.Spec.SSH.Logins, r.Login):
		return refuse(CodeNotPermitted, g, fmt.Sprintf("names login %s, which its Target does not offer", shownName(r.Login)), "ask for a grant with a login of the Target's")
	}
	return nil
}

// usual are the variables that a client may set where the grant names none.
var usual = []string{"LANG", "LC_*"}

// PermitsVariable reports whether a grant lets the client set a variable of the environment.
func PermitsVariable(p *v1alpha1.SSHPermissions, name string) bool {
	if p == nil || !variable.MatchString(name) || strings.Contains(name, "*") {
		return false
	}
	names := p.Environment
	if len(names) == 0 {
		names = usual
	}
	return slices.ContainsFunc(names, func(n string) bool { return newGlob(n, false).match(name) })
}
