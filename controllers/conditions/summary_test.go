package conditions_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/cardea-dev/cardea/controllers/conditions"
)

func TestFinish(t *testing.T) {
	summary := conditions.Summary{Owned: []string{"A", "B"}, Settled: []string{"Over"}}
	both := func(s conditions.Set) {
		s.True("A", "Good", "a")
		s.True("B", "Open", "b")
	}
	for name, tc := range map[string]struct {
		steps   func(conditions.Set)
		err     error
		want    map[string]string // type: status reason
		wantErr bool
		after   time.Duration
	}{
		"all true":   {steps: both, want: map[string]string{"A": "True Good", "B": "True Open", "Ready": "True Open"}},
		"first not":  {steps: func(s conditions.Set) { both(s); s.False("A", "Bad", "a") }, want: map[string]string{"A": "False Bad", "B": "True Open", "Ready": "False Bad"}},
		"not known":  {steps: func(s conditions.Set) { s.True("A", "Good", "a") }, want: map[string]string{"A": "True Good", "Ready": "Unknown Progressing"}},
		"settled":    {steps: func(s conditions.Set) { s.False("A", "Bad", "a"); s.False("B", "Over", "b") }, err: fmt.Errorf("step: %w", conditions.ErrSettled), want: map[string]string{"A": "False Bad", "B": "False Over", "Ready": "True Over"}},
		"waiting":    {steps: both, err: fmt.Errorf("step: %w", conditions.Waiting("A", "Missing", time.Second, "m")), want: map[string]string{"A": "False Missing", "B": "False Missing", "Ready": "False Missing"}, after: time.Second},
		"under way":  {steps: both, err: conditions.Waiting("A", "Progressing", 0, "m"), want: map[string]string{"A": "Unknown Progressing", "B": "Unknown Progressing", "Ready": "Unknown Progressing"}},
		"stalled":    {steps: both, err: conditions.Stalled("A", "Invalid", 0, "m"), want: map[string]string{"A": "False Invalid", "B": "False Invalid", "Ready": "False Invalid", "Stalled": "True Invalid"}},
		"of Ready":   {steps: both, err: &conditions.Blocked{Type: "Ready", Reason: "Unreachable"}, want: map[string]string{"A": "True Good", "B": "True Open", "Ready": "False Unreachable"}},
		"any error":  {steps: both, err: errors.New("x"), want: map[string]string{"A": "True Good", "B": "True Open", "Ready": "Unknown Progressing"}, wantErr: true},
		"a conflict": {steps: both, err: apierrors.NewConflict(schema.GroupResource{}, "x", nil), want: map[string]string{"A": "True Good", "B": "True Open"}, wantErr: true},
	} {
		t.Run(name, func(t *testing.T) {
			var list []metav1.Condition
			set := conditions.Set{List: &list, Generation: 7, Now: time.Unix(1, 0)}
			tc.steps(set)
			result, err := summary.Finish(set, tc.err)
			if (err != nil) != tc.wantErr {
				t.Errorf("error %v", err)
			}
			if result.RequeueAfter != tc.after {
				t.Errorf("again after %s, want %s", result.RequeueAfter, tc.after)
			}
			got := map[string]string{}
			for _, c := range list {
				got[c.Type] = string(c.Status) + " " + c.Reason
				if c.ObservedGeneration != 7 {
					t.Errorf("%s observed generation %d", c.Type, c.ObservedGeneration)
				}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("conditions (-want +got):\n%s", diff)
			}
		})
	}
}

func TestStalledIsForgotten(t *testing.T) {
	summary := conditions.Summary{Owned: []string{"A"}}
	var list []metav1.Condition
	set := conditions.Set{List: &list}
	if _, err := summary.Finish(set, conditions.Stalled("A", "Invalid", 0, "m")); err != nil {
		t.Fatal(err)
	}
	set.True("A", "Good", "")
	if _, err := summary.Finish(set, nil); err != nil {
		t.Fatal(err)
	}
	if meta.FindStatusCondition(list, "Stalled") != nil {
		t.Error("Stalled is still there")
	}
}
