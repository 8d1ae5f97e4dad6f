package access

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/recording"
)

// moment is a time as a flag says it: how long ago, a date or a time.
type moment struct {
	clock clock.PassiveClock
	time.Time
}

// Set implements pflag.Value.
func (m *moment) Set(text string) error {
	if ago, err := time.ParseDuration(text); err == nil {
		if ago < 0 {
			return errors.New("name how long ago it was without a sign, for example 24h")
		}
		m.Time = m.clock.Now().Add(-ago)
		return nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02T15:04", time.DateOnly} {
		if at, err := time.ParseInLocation(layout, text, time.UTC); err == nil {
			m.Time = at
			return nil
		}
	}
	return errors.New("name how long ago it was, as 24h, or a time, as 2026-11-24 or 2026-11-24T08:30:00Z")
}

// String implements pflag.Value.
func (m *moment) String() string {
	if m.IsZero() {
		return ""
	}
	return m.Format(time.RFC3339)
}

// Type implements pflag.Value.
func (*moment) Type() string { return "time" }

// decisions are those that --decision knows, with the counter of a Session where it has one.
var decisions = map[string]func(v1alpha1.CommandCounters) int64{
	"Allowed":  func(c v1alpha1.CommandCounters) int64 { return c.Forwarded },
	"Approved": nil, // in the recording alone
	"Denied":   func(c v1alpha1.CommandCounters) int64 { return c.Denied },
	"Held":     func(c v1alpha1.CommandCounters) int64 { return c.Held },
}

// selection chooses sessions.
type selection struct {
	grant, target, subject string
	since, until           moment
	decision, text         string
}

func (s *selection) flags(cmd *cobra.Command, clock clock.PassiveClock) {
	s.since.clock, s.until.clock = clock, clock
	cmd.Flags().StringVar(&s.grant, "grant", "", "only sessions of this AccessGrant")
	cmd.Flags().StringVar(&s.target, "target", "", "only sessions with this Target")
	cmd.Flags().StringVar(&s.subject, "subject", "", "only sessions of this subject, by its name or user name")
	cmd.Flags().Var(&s.since, "since", "only sessions that were open after this time: 24h for a day ago, or 2026-11-24T08:30:00Z")
	cmd.Flags().Var(&s.until, "until", "only sessions that were open before this time")
	cmd.Flags().StringVar(&s.decision, "decision", "", "only sessions with a command that was Allowed, Approved, Denied or Held")
}

func (s *selection) check() error {
	if s.decision != "" {
		for name := range decisions {
			if strings.EqualFold(name, s.decision) {
				s.decision = name
			}
		}
		if _, ok := decisions[s.decision]; !ok {
			return fmt.Errorf("--decision %s is unknown: choose Allowed, Approved, Denied or Held", s.decision)
		}
	}
	if !s.since.IsZero() && !s.until.IsZero() && s.until.Before(s.since.Time) {
		return errors.New("--until is before --since")
	}
	return nil
}

// matches decides by what a Session says.
func (s *selection) matches(o *v1alpha1.Session) bool {
	switch {
	case s.grant != "" && o.Spec.GrantRef.Name != s.grant,
		s.target != "" && o.Spec.TargetRef.Name != s.target,
		s.subject != "" && o.Spec.Subject.Name != s.subject && o.Spec.Subject.Username() != s.subject,
		!s.since.IsZero() && o.Status.EndedAt != nil && o.Status.EndedAt.Time.Before(s.since.Time),
		!s.until.IsZero() && o.Spec.StartedAt.Time.After(s.until.Time):
		return false
	}
	if counter := decisions[s.decision]; counter != nil {
		return counter(o.Status.Commands) > 0
	}
	return true
}

// reads reports whether a recording has to be read to decide.
func (s *selection) reads() bool { return s.text != "" || s.decision == "Approved" }

// chooses decides on a session. One without an object is described by its recording, and
// returned; briefly, where no more than the decision is asked for.
func (s *selection) chooses(ctx context.Context, r recorded, briefly bool) (*v1alpha1.Session, bool, error) {
	o := r.session
	if o == nil {
		var err error
		if o, err = describe(ctx, r, briefly && s.since.IsZero() && s.decision == ""); err != nil || o == nil {
			return nil, false, err
		}
	}
	if !s.matches(o) {
		return o, false, nil
	}
	if !s.reads() {
		return o, true, nil
	}
	text, approved := s.text == "", s.decision != "Approved"
	_, err := r.read(ctx, func(e recording.Entry) error {
		if c := e.Command; c != nil {
			text = text || says(c.Text, s.text) || slices.ContainsFunc(c.Parameters, func(p string) bool { return says(p, s.text) })
			approved = approved || c.Decision == "Approved"
		}
		if h := e.Held; h != nil {
			text = text || says(h.Text, s.text)
		}
		if text && approved {
			return errEnough
		}
		return nil
	})
	if isNotFound(err) || errors.Is(err, errEnough) {
		err = nil
	}
	return o, text && approved, err
}

// errEnough ends reading where nothing more can change the answer.
var errEnough = errors.New("enough was read")

// says reports whether a text holds another, whatever their case.
func says(text, part string) bool {
	return part != "" && strings.Contains(strings.ToLower(text), strings.ToLower(part))
}

// describe makes a Session of a recording whose own is gone; nil if there is nothing of it. One
// that is brief has what is known at the beginning alone.
func describe(ctx context.Context, r recorded, brief bool) (*v1alpha1.Session, error) {
	var o *v1alpha1.Session
	result, err := r.read(ctx, func(e recording.Entry) error {
		switch {
		case e.Started != nil && o == nil:
			o = sessionOf(e.Started, e.Time)
			if brief {
				return errEnough
			}
		case o == nil:
			return errEnough
		case e.Connected != nil:
			o.Status.Connections++
		case e.Held != nil:
			o.Status.Commands.Held++
		case e.Command != nil && e.Command.Decision == "Denied":
			o.Status.Commands.Denied++
		case e.Command != nil:
			o.Status.Commands.Forwarded++
		case e.Ended != nil:
			o.Status.EndedAt = &metav1.MicroTime{Time: e.Time}
			o.Status.EndReason = e.Ended.Reason
		}
		return nil
	})
	if isNotFound(err) || errors.Is(err, errEnough) {
		return o, nil
	}
	if err != nil || o == nil {
		return nil, err
	}
	o.Status.Recording.Segments, o.Status.Recording.Digest = int32(result.Segments), result.Digest //nolint:gosec // far below the limit
	reason := v1alpha1.ReasonEnded
	switch {
	case result.Cut:
		o.Status.Recording.State, reason = v1alpha1.RecordingCut, v1alpha1.ReasonCut
	case result.Complete:
		o.Status.Recording.State = v1alpha1.RecordingComplete
	default: // its end is not there
		return o, nil
	}
	meta.SetStatusCondition(&o.Status.Conditions, metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: reason,
		Message: "told by its recording", LastTransitionTime: metav1.Time{Time: o.Status.EndedAt.Time}})
	return o, nil
}

func sessionOf(s *recording.Started, at time.Time) *v1alpha1.Session {
	o := &v1alpha1.Session{ObjectMeta: metav1.ObjectMeta{Name: s.Session, Namespace: s.Namespace}}
	o.Spec.GrantRef.Name, o.Spec.TargetRef.Name = s.Grant, s.Target
	o.Spec.Client, o.Spec.Proxy, o.Spec.StartedAt = s.Client, s.Proxy, metav1.MicroTime{Time: at}
	o.Spec.Subject = v1alpha1.Subject{Kind: v1alpha1.SubjectUser, Name: s.Subject}
	if rest, ok := strings.CutPrefix(s.Subject, "system:serviceaccount:"); ok {
		if namespace, name, ok := strings.Cut(rest, ":"); ok {
			o.Spec.Subject = v1alpha1.Subject{Kind: v1alpha1.SubjectServiceAccount, Namespace: namespace, Name: name}
		}
	}
	o.Status.Recording.Store = s.Store
	return o
}
