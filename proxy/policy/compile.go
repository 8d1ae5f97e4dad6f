package policy

import (
	"time"

	"github.com/cardea-dev/cardea/api/v1alpha1"
)

// Snapshot is one immutable state of the policy. The zero Snapshot admits nobody.
type Snapshot struct {
	compiled bool // false for the zero Snapshot
	grants   map[string]*v1alpha1.AccessGrant
	targets  map[string]*target
	locks    []*lock
	// unreadable grants are there and could not be decoded, or are there twice.
	unreadable map[string]bool
	terminated map[string]bool
}

// Compile compiles in. It never fails: what cannot be compiled shuts what it governs. It
// does not keep in, but the objects in it.
func Compile(in Input) *Snapshot {
	s := &Snapshot{
		grants:     make(map[string]*v1alpha1.AccessGrant, len(in.Grants)),
		targets:    make(map[string]*target, len(in.Targets)),
		unreadable: map[string]bool{},
		terminated: make(map[string]bool, len(in.Terminated)),
	}
	if in.Namespace == "" {
		return &Snapshot{}
	}
	s.compiled = true
	for _, name := range in.Terminated {
		s.terminated[name] = true
	}
	for _, g := range in.Grants {
		if g == nil || g.Namespace != in.Namespace {
			continue
		}
		if s.grants[g.Name] != nil {
			s.unreadable[g.Name] = true
		}
		s.grants[g.Name] = g
	}
	l := newLibrary(in)
	for _, t := range in.Targets {
		if t == nil || t.Namespace != in.Namespace {
			continue
		}
		c := l.compile(t)
		if s.targets[t.Name] != nil {
			c.shutWith = shutf(v1alpha1.ReasonInvalid, "Target %s is there twice", shownName(t.Name))
		}
		s.targets[t.Name] = c
	}
	s.compileLocks(in)
	s.takeUndecodable(in)
	return s
}

func (s *Snapshot) compileLocks(in Input) {
	for _, l := range in.Locks {
		if l == nil {
			s.locks = append(s.locks, &lock{})
			continue
		}
		if _, ours := in.governs(l.Namespace); ours {
			s.locks = append(s.locks, compileLock(l))
		}
	}
}

// takeUndecodable notes which grants, locks and Sessions could not be decoded.
func (s *Snapshot) takeUndecodable(in Input) {
	for _, u := range in.Undecodable {
		switch u.Kind {
		case "AccessGrant":
			s.unreadable[u.Name] = true
		case "AccessLock":
			s.locks = append(s.locks, &lock{name: u.Namespace + "/" + u.Name,
				reason: "it has a field or value that this version does not know, and so locks everything"})
		case "Session":
			s.terminated[u.Name] = true
		}
	}
}

// Verifiers returns what a credential of the named grant is checked against at now. It
// says nothing about whether the grant is open.
func (s *Snapshot) Verifiers(grant string, now time.Time) []Verifier {
	g := s.grants[grant]
	if g == nil {
		return nil
	}
	var vs []Verifier
	for _, v := range g.Status.Verifiers {
		if isValid(v, now) {
			vs = append(vs, Verifier{Grant: g.Name, GrantUID: g.UID, CredentialVerifier: v})
		}
	}
	return vs
}

// isValid reports whether a credential is valid at now. One without an end never is.
func isValid(v v1alpha1.CredentialVerifier, now time.Time) bool {
	return v.ID != "" && !v.ExpiresAt.IsZero() && !now.Before(v.NotBefore.Time) && now.Before(v.ExpiresAt.Time)
}

// Terminated reports whether an administrator ended the named session.
func (s *Snapshot) Terminated(session string) bool { return !s.compiled || s.terminated[session] }
