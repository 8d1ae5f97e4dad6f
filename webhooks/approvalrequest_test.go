package webhooks

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	authenticationv1 "k8s.io/api/authentication/v1"
	"sigs.k8s.io/yaml"
)

// request decodes an ApprovalRequest of which only what matters is written out.
func request(t *testing.T, status string) map[string]any {
	t.Helper()
	var o map[string]any
	if err := yaml.Unmarshal([]byte(`{spec: {expiresAt: "2026-11-22T10:10:00Z"}, status: `+status+`}`), &o); err != nil {
		t.Fatal(err)
	}
	return o
}

func TestStampDecision(t *testing.T) {
	now := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	const (
		// What the first approver wrote is kept as written, to the unknown field.
		dora  = `{approver: dora, groups: [dba], decision: Approved, comment: ok, time: "2026-11-22T09:59:00.5Z", future: field}`
		dan   = `{approver: dan, groups: [dba, on-call], decision: Denied, comment: "no", time: "2026-11-22T10:00:00Z"}`
		naked = `{decision: Denied, comment: "no"}`
	)
	cases := map[string]struct {
		before, after, want string
		at                  time.Time
		wantErr             error
	}{
		"the first decision":              {before: `{}`, after: `{decisions: [` + naked + `]}`, want: `{decisions: [` + dan + `]}`},
		"the first decision of no status": {before: `null`, after: `{decisions: [` + naked + `]}`, want: `{decisions: [` + dan + `]}`},
		"the second, replacing the list":  {before: `{decisions: [` + dora + `]}`, after: `{decisions: [` + naked + `]}`, want: `{decisions: [` + dora + `, ` + dan + `]}`},
		"the second, added to the list":   {before: `{decisions: [` + dora + `]}`, after: `{decisions: [` + dora + `, ` + naked + `]}`, want: `{decisions: [` + dora + `, ` + dan + `]}`},
		"again":                           {before: `{decisions: [` + dan + `]}`, after: `{decisions: [` + naked + `]}`, want: `{decisions: [` + dan + `]}`},
		"again, otherwise":                {before: `{decisions: [` + dan + `]}`, after: `{decisions: [{decision: Approved}]}`, wantErr: ErrDecided},
		"invented groups and time":        {before: `{}`, after: `{decisions: [{approver: "", groups: [admins], decision: Denied, comment: "no", time: "2020-01-01T00:00:00Z"}]}`, want: `{decisions: [` + dan + `]}`},
		"null approver":                   {before: `{}`, after: `{decisions: [{approver: null, decision: Denied, comment: "no"}]}`, want: `{decisions: [` + dan + `]}`},
		"somebody else's, in full":        {before: `{}`, after: `{decisions: [` + dora + `]}`, want: `{decisions: [` + dora + `]}`},
		"somebody else's beside mine":     {before: `{}`, after: `{decisions: [` + dora + `, ` + naked + `]}`, want: `{decisions: [` + dora + `, ` + dan + `]}`},
		"an earlier one changed is seen":  {before: `{decisions: [` + dora + `]}`, after: `{decisions: [{approver: dora, decision: Denied}, ` + naked + `]}`, want: `{decisions: [` + dora + `, {approver: dora, decision: Denied}, ` + dan + `]}`},
		"earlier ones dropped, in full":   {before: `{decisions: [` + dora + `]}`, after: `{decisions: [` + dan + `]}`, want: `{decisions: [` + dan + `]}`},
		"emptied":                         {before: `{decisions: [` + dora + `]}`, after: `{decisions: []}`, want: `{decisions: []}`},
		"no decisions":                    {before: `{}`, after: `{withdrawnAt: "2026-11-22T10:00:00Z"}`, want: `{withdrawnAt: "2026-11-22T10:00:00Z"}`},
		"consumed":                        {before: `{consumed: {session: s}}`, after: `{decisions: [` + naked + `]}`, wantErr: ErrClosed},
		"withdrawn":                       {before: `{withdrawnAt: "2026-11-22T09:00:00Z"}`, after: `{decisions: [` + naked + `]}`, wantErr: ErrClosed},
		"at its end":                      {before: `{}`, after: `{decisions: [` + naked + `]}`, at: now.Add(10 * time.Minute), wantErr: ErrClosed},
		"a moment before":                 {before: `{}`, after: `{decisions: [` + naked + `]}`, at: now.Add(10*time.Minute - time.Nanosecond), want: `{decisions: [{approver: dan, groups: [dba, on-call], decision: Denied, comment: "no", time: "2026-11-22T10:09:59Z"}]}`},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			at := now
			if !c.at.IsZero() {
				at = c.at
			}
			after := request(t, c.after)
			err := StampDecision(request(t, c.before), after, authenticationv1.UserInfo{Username: "dan", Groups: []string{"dba", "on-call"}}, at)
			if !errors.Is(err, c.wantErr) || err != nil && c.wantErr == nil {
				t.Fatalf("error %v, want %v", err, c.wantErr)
			}
			if err != nil {
				return
			}
			if diff := cmp.Diff(request(t, c.want), after); diff != "" {
				t.Errorf("request (-want +got):\n%s", diff)
			}
		})
	}
}

func TestStampDecisionMalformed(t *testing.T) {
	cases := map[string]string{
		"a list of words": `{decisions: [Approved]}`,
		"a word":          `{decisions: Approved}`,
		"an object":       `{decisions: {decision: Approved}}`,
	}
	for name, status := range cases {
		t.Run(name, func(t *testing.T) {
			if err := StampDecision(request(t, `{}`), request(t, status), authenticationv1.UserInfo{Username: "dan"}, time.Time{}); err == nil {
				t.Error("accepted")
			}
		})
	}
}
