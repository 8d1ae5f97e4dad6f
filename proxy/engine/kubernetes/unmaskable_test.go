package kubernetes

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/cardea-dev/cardea/proxy/kubeapi"
	"github.com/cardea-dev/cardea/proxy/masking/objects"
	"github.com/cardea-dev/cardea/proxy/policy"
	"github.com/cardea-dev/cardea/proxy/session"
)

// everySecret masks Secrets.
type everySecret struct{}

func (everySecret) Plan(f *kubeapi.Facts) *objects.Plan {
	return objects.New(f.Group, f.Resource, true, nil)
}

// G3: an answer in a form that was not asked for does not pass.
func TestAnswersThatCannotBeMasked(t *testing.T) {
	const body = `{"data":{"a":"eA=="}}`
	path, err := objects.ParsePath("data.b")
	if err != nil {
		t.Fatal(err)
	}
	facts := &kubeapi.Facts{Known: true, Resource: "secrets"}
	for name, tc := range map[string]struct {
		method string
		status int
		header http.Header
		plan   *objects.Plan
		want   error
	}{
		"compressed":        {"GET", 200, http.Header{"Content-Type": {"application/json"}, "Content-Encoding": {"gzip"}}, everySecret{}.Plan(facts), errUnmaskable},
		"another form":      {"GET", 200, http.Header{"Content-Type": {"application/vnd.kubernetes.protobuf"}}, everySecret{}.Plan(facts), errUnmaskable},
		"of no form":        {"GET", 200, http.Header{}, everySecret{}.Plan(facts), errUnmaskable},
		"text":              {"GET", 200, http.Header{"Content-Type": {"text/plain"}}, everySecret{}.Plan(facts), errUnmaskable},
		"by other rules":    {"GET", 200, http.Header{"Content-Type": {"application/json"}}, objects.New("", "secrets", false, []objects.Path{path}), errRules},
		"without content":   {"GET", 204, http.Header{}, everySecret{}.Plan(facts), nil},
		"without a body":    {"HEAD", 200, http.Header{"Content-Type": {"application/json"}, "Content-Length": {"22"}, "Etag": {"x"}}, everySecret{}.Plan(facts), nil},
		"a head, forbidden": {"HEAD", 403, http.Header{"Content-Type": {"application/json"}}, everySecret{}.Plan(facts), nil},
	} {
		t.Run(name, func(t *testing.T) {
			w := httptest.NewRecorder()
			h := newHandler(session.New(session.Config{Admission: &policy.Admission{Fields: everySecret{}}}), &upstream{}, Limits{}.withDefaults())
			what := &understood{facts: facts, plan: tc.plan, form: form{media: "application/json"}}
			p := &passage{handler: h, w: w, facts: facts, plan: what.plan}
			a := &answer{passage: p, form: what.form, from: &http.Response{StatusCode: tc.status, Header: tc.header, Body: io.NopCloser(strings.NewReader(body))},
				bare: tc.method == http.MethodHead, masker: what.plan.NewAnswer("dana", false)}
			if err := a.copyMasked(t.Context(), false); !errors.Is(err, tc.want) {
				t.Errorf("got %v, want %v", err, tc.want)
			}
			if w.Body.Len() > 0 || w.Header().Get("Etag") != "" || w.Header().Get("Content-Length") != "" {
				t.Errorf("it was sent %v %s", w.Header(), w.Body)
			}
		})
	}
}
