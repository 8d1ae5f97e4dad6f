package kubernetes

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/cardea-dev/cardea/proxy/kubeapi"
	"github.com/cardea-dev/cardea/proxy/policy"
	"github.com/cardea-dev/cardea/proxy/recording"
	"github.com/cardea-dev/cardea/proxy/session"
)

const (
	// largeBody is what counts as a large body.
	largeBody = 64 << 10
	// readSize is how much of an answer is recorded and passed on at a time.
	readSize = 32 << 10
)

// handler serves the requests of one session's connection.
type handler struct {
	session *session.Session
	up      *upstream
	limits  Limits
	large   chan struct{} // holds a token for each large body
	answers chan struct{} // holds a token for each large answer that is masked
}

func newHandler(s *session.Session, up *upstream, l Limits) *handler {
	return &handler{session: s, up: up, limits: l, large: make(chan struct{}, l.LargeBodies), answers: make(chan struct{}, l.LargeBodies)}
}

// ServeHTTP decides on one request and carries it.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	body, release, err := h.body(ctx, r)
	if err != nil {
		refuse(w, err)
		return
	}
	defer release()
	what := understand(r, body)
	what.secret = what.facts.Sensitive
	if what.plan = h.planFor(what.facts); what.plan != nil {
		what.secret = what.secret && !what.plan.Whole()
		what.facts = sensitive(what.facts)
	}
	c := h.command(r, what, body)
	verdict := h.session.Decide(c)
	if isStream(what.facts) && what.facts.Known {
		what.facts = h.opening(what.facts)
		// Whom a stream leads to is asked once nothing else refuses it.
		what.facts = withPods(what.facts, &kubeapi.Pods{Known: true})
		c = h.command(r, what, body)
		if verdict = h.session.Decide(c); verdict.Action != policy.Deny {
			what.facts = withPods(what.facts, h.up.pod(ctx, what.facts))
			c = h.command(r, what, body)
			verdict = h.session.Decide(c)
		}
	}
	if verdict.Action != policy.Deny && isStream(what.facts) {
		if what.facts.Stream == nil {
			h.servePorts(w, r, what, c, verdict)
			return
		}
		h.serveStream(w, r, what, c, verdict)
		return
	}
	if what.plan != nil && verdict.Action != policy.Deny {
		var refusal *policy.Refusal
		if what.form, refusal = maskable(what.plan, r, what, body); refusal != nil {
			refuse(w, h.session.Refuse(c, refusal))
			return
		}
		if what.plan.Whole() && forReleases(what) {
			w.Header().Add("Warning", helmWarning)
		}
	}
	held := ""
	permit, err := h.session.Authorize(ctx, c, verdict, func(request string, _ time.Time) error {
		held = request
		return nil
	}, nil)
	if err != nil {
		refuse(w, causeOf(ctx, err))
		return
	}
	if held != "" {
		w.Header().Add("Warning", fmt.Sprintf(`299 - "held for approval, ApprovalRequest %s"`, held))
	}
	h.carry(ctx, w, r, what, permit, body)
}

// causeOf returns why a session ended, where an error is only that its context did.
func causeOf(ctx context.Context, err error) error {
	if refusal := new(policy.Refusal); !errors.As(err, &refusal) && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// command describes a request to policy and recording.
func (h *handler) command(r *http.Request, what *understood, body []byte) *policy.Command {
	method := r.Method
	if what.facts.Stream != nil {
		// The same whatever the protocol: WebSocket begins with GET, SPDY with POST.
		method = http.MethodPost
	}
	c := &policy.Command{
		Engine: Name, Kubernetes: what.facts, Text: []byte(method + " " + what.uri()),
		Context: map[string]string{"user": h.up.user, "contentType": r.Header.Get("Content-Type")},
	}
	if p := what.facts.Pods; p != nil && p.UID != "" {
		c.Context["pod"] = p.UID
	}
	if s := what.facts.Stream; s != nil {
		for _, word := range s.Command {
			p := policy.Parameter{Text: word}
			if !utf8.ValidString(word) {
				p = policy.Parameter{Text: hex.EncodeToString([]byte(word)), Binary: true}
			}
			c.Parameters = append(c.Parameters, p)
		}
		return c
	}
	if len(body) > 0 {
		p := policy.Parameter{Text: string(body)}
		if !utf8.Valid(body) {
			p = policy.Parameter{Text: hex.EncodeToString(body), Binary: true}
		}
		c.Parameters = []policy.Parameter{p}
	}
	return c
}

// body reads the whole body of a request.
func (h *handler) body(ctx context.Context, r *http.Request) (body []byte, release func(), err error) {
	release = func() {}
	if r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0 {
		return nil, release, nil
	}
	tooLarge := &policy.Refusal{Code: policy.CodeLimit, Message: fmt.Sprintf("the body of the request is larger than %d bytes", h.limits.Body), Hint: "send less at a time"}
	if r.ContentLength > h.limits.Body {
		return nil, release, tooLarge
	}
	if r.ContentLength < 0 || r.ContentLength > largeBody {
		select {
		case h.large <- struct{}{}:
			release = func() { <-h.large }
		case <-ctx.Done():
			return nil, release, context.Cause(ctx)
		}
	}
	body, err = io.ReadAll(io.LimitReader(r.Body, h.limits.Body+1))
	switch {
	case err != nil:
		err = &policy.Refusal{Code: policy.CodeProtocol, Message: "the body of the request ended early", Hint: "send it again"}
	case int64(len(body)) > h.limits.Body:
		err = tooLarge
	}
	if err != nil {
		release()
		return nil, func() {}, err
	}
	return body, release, nil
}

// carry sends a permitted request and its answer.
func (h *handler) carry(ctx context.Context, w http.ResponseWriter, r *http.Request, what *understood, permit session.Permit, body []byte) {
	var content io.Reader
	if len(body) > 0 {
		content = bytes.NewReader(body)
	}
	headers := headersFor(r.Header)
	if what.plan != nil {
		headers.Set("Accept", what.form.accept())
	}
	if !h.planFor(what.facts).Equal(what.plan) {
		// It was held, and the rules have changed.
		reason := error(errRules)
		if rerr := h.session.Respond(permit, &recording.Response{Final: true, Error: "what is masked has changed"}); rerr != nil {
			reason = rerr
		}
		refuse(w, reason)
		return
	}
	from, err := h.up.send(ctx, r.Method, what, headers, content, int64(len(body)))
	if err != nil {
		reason := whyNoAnswer(ctx, err)
		// The request may have reached the API server.
		if rerr := h.session.Respond(permit, &recording.Response{Final: true, Unknown: true, Error: "no answer"}); rerr != nil {
			reason = rerr
		}
		refuse(w, reason)
		return
	}
	defer func() { _ = from.Body.Close() }()
	a := h.answer(w, r, what, permit, from)
	switch {
	case what.plan != nil:
		err = a.copyMasked(ctx, what.facts.Verb == "watch")
	case h.planFor(what.facts) != nil:
		err = errRules
	case isLog(what.facts):
		err = a.copyLog(what)
	default:
		if from.ContentLength >= 0 {
			w.Header().Set("Content-Length", strconv.FormatInt(from.ContentLength, 10))
		}
		a.start(from.Header.Get("Content-Type"))
		if from.ContentLength < 0 {
			// A watch begins when its head is there, whenever its first event comes.
			err = a.flush()
		}
		if err == nil {
			err = a.copy(from.Body, from.ContentLength < 0)
		}
	}
	final := &recording.Response{Final: true, Tag: strconv.Itoa(from.StatusCode), ByteCount: a.bytes, Truncated: a.truncated, Detected: a.text.Found()}
	if err != nil {
		final.Error = "the answer was cut"
	}
	if rerr := h.session.Respond(permit, final); rerr != nil {
		err = rerr
	}
	if err != nil {
		a.cut(ctx, err)
	}
}

// cut ends an answer that cannot be sent whole. The client must not take a part for it.
func (a *answer) cut(ctx context.Context, err error) {
	if !a.started {
		refuse(a.w, whyNoMask(ctx, err))
		return
	}
	cause := context.Cause(ctx)
	if refusal := new(policy.Refusal); cause == nil && errors.As(err, &refusal) {
		cause = refusal
	}
	if cause != nil && a.facts.Verb == "watch" {
		a.farewell(a.w.Header().Get("Content-Type"), cause)
		return
	}
	panic(http.ErrAbortHandler)
}

// whyNoMask is what a client is told whose answer cannot be masked.
func whyNoMask(ctx context.Context, err error) error {
	if refusal := new(policy.Refusal); ctx.Err() == nil && !errors.As(err, &refusal) {
		return &policy.Refusal{Code: policy.CodeMaskedColumn, Message: "the API server's answer is masked, and the gate cannot mask it in that form",
			Hint: "accept application/json, or ask an administrator"}
	}
	return whyNoAnswer(ctx, err)
}

// whyNoAnswer is what a client is told that gets none.
func whyNoAnswer(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if refusal := new(policy.Refusal); errors.As(err, &refusal) {
		return refusal
	}
	return unreachable(errors.New("the connection failed"))
}

// keep is how many bytes of an answer are recorded.
func (h *handler) keep() int64 {
	if store := h.session.Admission().Store; store != nil && store.Spec.Responses.MaxBytes != nil {
		return int64(*store.Spec.Responses.MaxBytes)
	}
	return 0
}
