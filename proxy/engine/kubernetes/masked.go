package kubernetes

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"

	"k8s.io/apimachinery/pkg/runtime"

	"github.com/cardea-dev/cardea/proxy/kubeapi"
	"github.com/cardea-dev/cardea/proxy/masking/objects"
	"github.com/cardea-dev/cardea/proxy/policy"
	"github.com/cardea-dev/cardea/proxy/session"
)

var (
	// errUnmaskable says that an answer is none that the gate can mask.
	errUnmaskable = errors.New("the answer cannot be masked")
	// errRules says that what is masked changed while an answer was on its way.
	errRules = &policy.Refusal{Code: policy.CodeDefinitionChange, Message: "what is masked of these objects has changed", Hint: "send the request again"}
)

// planFor says what is masked of the answer to a request, by the policy of now.
func (h *handler) planFor(f *kubeapi.Facts) *objects.Plan {
	fields := h.session.Admission().Fields
	switch {
	case !f.Known:
		return nil
	case fields == nil:
		return objects.New(f.Group, f.Resource, true, nil)
	}
	return fields.Plan(f)
}

// maskable returns the form of the answer to a request about what is masked, or why the
// request is refused.
func maskable(plan *objects.Plan, r *http.Request, what *understood, body []byte) (form, *policy.Refusal) {
	f, ok := formFor(r.Header, what.facts.Verb == "watch")
	if !ok {
		return f, &policy.Refusal{Code: policy.CodeMaskedColumn, Message: "these objects are masked, and the gate does not mask them in the form that the request asks for",
			Hint: "accept application/json"}
	}
	if field := revealing(plan, what); field != "" {
		return f, &policy.Refusal{Code: policy.CodeMaskedColumn, Message: "a field selector about what is masked would tell it", Hint: "select by name or label"}
	}
	if err := writable(plan, what.facts, headersFor(r.Header).Get("Content-Type"), body); err != nil {
		return f, &policy.Refusal{Code: policy.CodeMaskedColumn, Message: "the write is refused, since these objects are masked: " + err.Error(),
			Hint: "send a patch, or server-side apply, with the fields alone that you mean to change"}
	}
	return f, nil
}

// answer is one that is masked on its way to the client.
type answer struct {
	*passage
	form   form
	masker *objects.Answer
	from   *http.Response
	bare   bool // the client wants no body

	started bool
	pending []byte        // is to be sent
	whole   *bytes.Buffer // of an answer that is sent in another form than JSON; nil for JSON
}

// answer prepares what carries an answer to the client.
func (h *handler) answer(w http.ResponseWriter, r *http.Request, what *understood, permit session.Permit, from *http.Response) *answer {
	p := &passage{handler: h, permit: permit, w: w, facts: what.facts, plan: what.plan, left: h.keep(),
		writes: r.Method != http.MethodGet && r.Method != http.MethodHead, sensitive: what.secret}
	a := &answer{passage: p, form: what.form, from: from, bare: r.Method == http.MethodHead}
	if what.plan != nil {
		a.masker = what.plan.NewAnswer(h.up.user, p.writes)
	}
	return a
}

// sensitive are the facts of a request about what is masked: what is written there is recorded
// as its length.
func sensitive(f *kubeapi.Facts) *kubeapi.Facts {
	with := *f
	with.Sensitive = true
	return &with
}

// start sends the head of the answer; what comes after it can only be cut.
func (a *answer) start(contentType string) {
	if a.started {
		return
	}
	a.started = true
	in := a.from.Header
	if a.plan != nil {
		in = in.Clone()
		// It is of the bytes that came, not of those that go.
		in.Del("Etag")
		in.Set("Content-Type", contentType)
		if a.writes {
			// It may be about what would have come of the write.
			in.Del("Warning")
		}
	}
	answerHeaders(a.w.Header(), in)
	a.w.WriteHeader(a.from.StatusCode)
}

// send sends a part of a document.
func (a *answer) send(part []byte) error {
	if a.whole != nil {
		if int64(a.whole.Len()+len(part)) > a.handler.limits.Converted {
			return &policy.Refusal{Code: policy.CodeLimit, Message: fmt.Sprintf("the answer is masked, and larger than the %d bytes that the gate writes in another form than JSON", a.handler.limits.Converted),
				Hint: "accept application/json, or ask for fewer at a time (limit)"}
		}
		a.whole.Write(part)
		return nil
	}
	a.start(a.form.contentType(false))
	if a.bare {
		return nil
	}
	if a.pending = append(a.pending, part...); len(a.pending) < readSize {
		return nil
	}
	return a.sendPending()
}

func (a *answer) sendPending() error {
	part := a.pending
	a.pending = a.pending[:0]
	return a.pass(part)
}

// copyMasked masks an answer and passes it on.
func (a *answer) copyMasked(ctx context.Context, watch bool) error {
	if encoding := a.from.Header.Get("Content-Encoding"); encoding != "" && encoding != "identity" {
		return errUnmaskable
	}
	if !a.handler.planFor(a.facts).Equal(a.plan) {
		return errRules
	}
	found, _, err := mime.ParseMediaType(a.from.Header.Get("Content-Type"))
	switch {
	case a.from.StatusCode >= http.StatusBadRequest && (err != nil || found != runtime.ContentTypeJSON):
		return a.sendStatus()
	case a.from.StatusCode == http.StatusNoContent || a.from.StatusCode == http.StatusNotModified:
		a.bare = true
		a.start(a.form.contentType(false))
		return nil
	case err != nil || found != runtime.ContentTypeJSON:
		return errUnmaskable
	case a.bare:
		a.start(a.form.contentType(false))
		return nil
	case watch && a.from.StatusCode == http.StatusOK:
		return a.copyEvents()
	}
	return a.copyWhole(ctx)
}

// copyWhole masks a document and sends it in the client's form. Few at a time may be large.
func (a *answer) copyWhole(ctx context.Context) error {
	body := bufio.NewReaderSize(a.from.Body, largeBody)
	if _, err := body.Peek(largeBody); err == nil {
		select {
		case a.handler.answers <- struct{}{}:
			defer func() { <-a.handler.answers }()
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	if a.form.media != runtime.ContentTypeJSON {
		a.whole = &bytes.Buffer{}
	}
	if err := a.copyDocument(body); err != nil {
		return err
	}
	last := []byte("\n")
	if a.whole != nil {
		encoded, err := encode(a.whole.Bytes(), a.form.media)
		if err != nil {
			return err
		}
		a.whole, last = nil, encoded
	}
	if err := a.send(last); err != nil {
		return err
	}
	return a.sendPending()
}

// sendStatus takes the place of an error that the API server does not tell as a Status.
func (a *answer) sendStatus() error {
	status := map[string]any{"kind": "Status", "apiVersion": "v1", "metadata": map[string]any{}, "status": "Failure", "code": a.from.StatusCode,
		"message": "the API server refused the request: " + http.StatusText(a.from.StatusCode)}
	b, err := json.Marshal(status)
	if err != nil {
		return err
	}
	a.form.media = runtime.ContentTypeJSON
	if err := a.send(append(b, '\n')); err != nil {
		return err
	}
	return a.sendPending()
}

// decoder returns what reads JSON, and what allows it the bytes of one more value.
func (a *answer) decoder(body io.Reader) (*json.Decoder, func()) {
	from := &io.LimitedReader{R: body, N: a.handler.limits.Object}
	d := json.NewDecoder(from)
	d.UseNumber()
	return d, func() { from.N = a.handler.limits.Object }
}

// copyEvents masks each event of a watch.
func (a *answer) copyEvents() error {
	a.start(a.form.contentType(true))
	if err := a.flush(); err != nil {
		return err
	}
	decoder, more := a.decoder(a.from.Body)
	for {
		more()
		var event struct {
			Type   string         `json:"type"`
			Object map[string]any `json:"object"`
		}
		err := decoder.Decode(&event)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil || event.Object == nil {
			return fmt.Errorf("read event: %w", errors.Join(errUnmaskable, err))
		}
		if !a.handler.planFor(a.facts).Equal(a.plan) {
			return errRules
		}
		a.masker.Mask(event.Object)
		doc, err := json.Marshal(event.Object)
		if err != nil {
			return err
		}
		encoded, err := encodeEvent(event.Type, doc, a.form.media)
		if err != nil {
			return err
		}
		if err := a.pass(encoded); err != nil {
			return err
		}
	}
}

// copyDocument masks one document. Of a list or table, each element by itself, so that its size
// is no matter.
func (a *answer) copyDocument(body io.Reader) error {
	decoder, more := a.decoder(body)
	if t, err := decoder.Token(); err != nil || t != json.Delim('{') {
		return errUnmaskable
	}
	head := map[string]any{}
	for decoder.More() {
		t, err := decoder.Token()
		name, ok := t.(string)
		if err != nil || !ok {
			return errUnmaskable
		}
		if elements := objects.IsTable(head) && name == "rows" || !objects.IsTable(head) && name == "items"; elements {
			return a.copyList(decoder, more, head, name)
		}
		var v any
		if err := decoder.Decode(&v); err != nil {
			return errUnmaskable
		}
		head[name] = v
	}
	if err := ended(decoder); err != nil {
		return err
	}
	a.masker.Mask(head)
	doc, err := json.Marshal(head)
	if err != nil {
		return err
	}
	return a.send(doc)
}

// ended reads the end of a document, and of the answer.
func ended(decoder *json.Decoder) error {
	if _, err := decoder.Token(); err != nil {
		return errUnmaskable
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errUnmaskable
	}
	return nil
}

// copyList masks a list of which the head was read. Elements that are none, as of a list that
// is null, are left out.
func (a *answer) copyList(decoder *json.Decoder, more func(), head map[string]any, name string) error {
	a.masker.Head(head)
	b, err := json.Marshal(head)
	if err != nil {
		return err
	}
	b = bytes.TrimSuffix(b, []byte("}"))
	if len(head) > 0 {
		b = append(b, ',')
	}
	if err := a.send(append(b, `"`+name+`":[`...)); err != nil {
		return err
	}
	more()
	t, err := decoder.Token()
	if err != nil || t != json.Delim('[') && t != nil {
		return errUnmaskable
	}
	for first := true; t != nil && decoder.More(); first = false {
		more()
		if err := a.copyElement(decoder, name, first); err != nil {
			return err
		}
	}
	if t != nil {
		if _, err := decoder.Token(); err != nil {
			return errUnmaskable
		}
	}
	if err := a.send([]byte("]")); err != nil {
		return err
	}
	return a.copyRest(decoder, more, map[string]any{"kind": head["kind"], "apiVersion": head["apiVersion"]})
}

func (a *answer) copyElement(decoder *json.Decoder, name string, first bool) error {
	var element any
	if err := decoder.Decode(&element); err != nil {
		return errUnmaskable
	}
	b, err := json.Marshal(a.masker.Element(name, element, name == "rows"))
	if err != nil {
		return err
	}
	if !first {
		b = append([]byte(","), b...)
	}
	return a.send(b)
}

// copyRest masks what comes after the elements of a list. It is refused if that says that the
// document was none.
func (a *answer) copyRest(decoder *json.Decoder, more func(), is map[string]any) error {
	wasTable := objects.IsTable(is)
	for decoder.More() {
		more()
		t, err := decoder.Token()
		name, ok := t.(string)
		var v any
		if err != nil || !ok || name == "items" || name == "rows" || decoder.Decode(&v) != nil {
			return errUnmaskable
		}
		if name == "kind" || name == "apiVersion" {
			is[name] = v
		}
		if objects.IsStatus(is) || objects.IsTable(is) != wasTable {
			return errUnmaskable
		}
		rest := map[string]any{name: v}
		a.masker.Head(rest)
		b, err := json.Marshal(rest)
		if err != nil {
			return err
		}
		if len(rest) == 0 {
			continue
		}
		if err := a.send(append([]byte(","), b[1:len(b)-1]...)); err != nil {
			return err
		}
	}
	if err := ended(decoder); err != nil {
		return err
	}
	return a.send([]byte("}"))
}
