package session

import (
	"testing"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/masking/detect"
	"github.com/cardea-dev/cardea/proxy/policy"
)

// What detectors find is masked by the policy of the moment; without any, what comes is what goes on.
func TestMaskFollowsThePolicy(t *testing.T) {
	set, err := detect.New([]v1alpha1.Detector{v1alpha1.DetectSSN})
	if err != nil {
		t.Fatal(err)
	}
	s := New(Config{Admission: &policy.Admission{}})
	m := s.NewMask()
	var buf []byte
	for _, step := range []struct {
		set       *detect.Set
		part      string
		want      string
		untouched bool
	}{
		{nil, "123-45-6789\n", "123-45-6789\n", true}, {set, "123-45-6789\n123-45", "[ssn]\n", false}, {set, "-6789\n12", "[ssn]\n", false},
		{nil, "3-45-6789\n", "123-45-6789\n", false}, {set, "123-45-6789\n", "[ssn]\n", false},
	} {
		s.Update(&policy.Admission{Detectors: step.set})
		part := []byte(step.part)
		got := m.Of(&buf, part)
		if string(got) != step.want || (&got[0] == &part[0]) != step.untouched {
			t.Errorf("of %q goes on %q, want %q", step.part, got, step.want)
		}
	}
	if m.Found() != 3 || m.Held() != 0 {
		t.Errorf("%d found, %d held", m.Found(), m.Held())
	}
	var none *Mask
	if got := none.Of(&buf, []byte("123-45-6789")); string(got) != "123-45-6789" || none.Found() != 0 || none.Held() != 0 || none.Flush(nil) != nil {
		t.Errorf("a nil Mask passes %q", got)
	}
}
