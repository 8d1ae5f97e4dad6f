package backend

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/recording"
	"github.com/cardea-dev/cardea/proxy/recording/store/configmap"
	"github.com/cardea-dev/cardea/test/envtest/api/apiserver"
	"github.com/cardea-dev/cardea/test/recorder"
)

// A login is read by its exact name and with its owner's consent alone.
func TestLogin(t *testing.T) {
	b, _ := start(t)
	target := makeTarget(t)
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "orders-login", Namespace: gate}, Type: corev1.SecretTypeBasicAuth,
		StringData: map[string]string{"username": "app", "password": "p"}}
	expect := func(want string) {
		t.Helper()
		eventually(t, "login", func() error {
			l, err := b.Login(t.Context(), target)
			if want == "" && err == nil && l.Username == "app" && l.Password == "p" {
				return nil
			}
			if want != "" && err != nil && strings.Contains(err.Error(), want) {
				return nil
			}
			return fmt.Errorf("%w, want %q", err, want)
		})
	}
	expect("missing")
	create(t, secret)
	expect("consent")
	secret.Labels = map[string]string{v1alpha1.LabelTarget: target.Name}
	if err := admin.Update(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	expect("")
	target = target.DeepCopy()
	target.Spec.Postgres.Login.SecretRef.Name = "another"
	expect("may not be read")
}

// The condition UpstreamReachable is the proxy's; the others stay the operator's.
func TestReachable(t *testing.T) {
	b, _ := start(t)
	target := makeTarget(t)
	meta.SetStatusCondition(&target.Status.Conditions, metav1.Condition{Type: "Accepted", Status: "True", Reason: "Accepted"})
	if err := operator.Status().Update(t.Context(), target); err != nil {
		t.Fatal(err)
	}
	for _, want := range []error{errors.New("the target cannot be reached: no such host"), nil} {
		b.Reachable(target, want)
		eventually(t, "the condition is written", func() error {
			got := new(v1alpha1.Target)
			if err := admin.Get(t.Context(), client.ObjectKeyFromObject(target), got); err != nil {
				return err
			}
			c := meta.FindStatusCondition(got.Status.Conditions, v1alpha1.ConditionUpstreamReachable)
			if c == nil || (c.Status == metav1.ConditionTrue) != (want == nil) || want != nil && c.Message != want.Error() {
				return fmt.Errorf("condition %+v", c)
			}
			if !meta.IsStatusConditionTrue(got.Status.Conditions, "Accepted") {
				return errors.New("the operator's condition is gone")
			}
			return nil
		})
	}
}

func TestSession(t *testing.T) {
	b, _ := start(t)
	s := &v1alpha1.Session{ObjectMeta: metav1.ObjectMeta{Name: "report-agent-abcde", Namespace: gate}, Spec: v1alpha1.SessionSpec{
		DesiredState: v1alpha1.SessionActive, GrantRef: v1alpha1.ObjectIdentity{Name: "report-agent", UID: "g"},
		TargetRef: v1alpha1.ObjectIdentity{Name: "orders-db", UID: "t"}, Subject: v1alpha1.Subject{Kind: v1alpha1.SubjectUser, Name: "u"},
		Client: "10.0.0.1", Proxy: "cardea-proxy-0", StartedAt: metav1.NowMicro()},
		Status: v1alpha1.SessionStatus{Connections: 1, Commands: v1alpha1.CommandCounters{Forwarded: 3}, Recording: v1alpha1.SessionRecording{State: v1alpha1.RecordingOpen}}}
	t.Cleanup(func() { _ = operator.Delete(context.Background(), s) })
	stored := func() *v1alpha1.Session {
		t.Helper()
		got := new(v1alpha1.Session)
		if err := admin.Get(t.Context(), client.ObjectKeyFromObject(s), got); err != nil {
			t.Fatal(err)
		}
		return got
	}
	if err := b.Session(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if stored().Status.Commands.Forwarded != 3 {
		t.Errorf("status = %+v", stored().Status)
	}
	if b.Current().Terminated(s.Name) {
		t.Error("it counts as terminated")
	}
	// An administrator ends it, and a later write of the proxy leaves that alone.
	if err := admin.Patch(t.Context(), s.DeepCopy(), client.RawPatch(types.MergePatchType, []byte(`{"spec":{"desiredState":"Terminated"}}`))); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the termination arrives", func() error {
		if !b.Current().Terminated(s.Name) {
			return errors.New("not yet")
		}
		return nil
	})
	// What another process knows of it, after this one died.
	end := metav1.NowMicro()
	after := s.DeepCopy()
	after.Status = v1alpha1.SessionStatus{EndedAt: &end, EndReason: "Cut", Recording: v1alpha1.SessionRecording{State: v1alpha1.RecordingCut, Segments: 1, Digest: "d"}}
	other, _ := start(t)
	if err := other.Session(t.Context(), after); err != nil {
		t.Fatal(err)
	}
	got := stored()
	if got.Spec.DesiredState != v1alpha1.SessionTerminated || got.Status.Commands.Forwarded != 3 || got.Status.EndReason != "Cut" {
		t.Errorf("stored %+v %+v", got.Spec, got.Status)
	}
	// Somebody else's session of the same name is not touched.
	foreign := s.DeepCopy()
	foreign.Spec.GrantRef.UID = "another"
	third, _ := start(t)
	if err := third.Session(t.Context(), foreign); err == nil {
		t.Error("another session was written over")
	}
}

func TestApprovalRequests(t *testing.T) {
	b, _ := start(t)
	r := new(v1alpha1.ApprovalRequest)
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(apiserver.Object(apiserver.ApprovalRequest, "").Object, r); err != nil {
		t.Fatal(err)
	}
	changed := b.Changed()
	created, err := b.Create(t.Context(), r)
	if err != nil || created.UID == "" {
		t.Fatalf("%v %+v", err, created)
	}
	t.Cleanup(func() { _ = operator.Delete(context.Background(), created) })
	select {
	case <-changed:
	case <-time.After(patience):
		t.Fatal("nobody is told")
	}
	eventually(t, "it is listed", func() error {
		found, err := b.List(t.Context(), string(r.Spec.GrantRef.UID))
		if err != nil || len(found) != 1 {
			return fmt.Errorf("%d found, %w", len(found), err)
		}
		return nil
	})
	if _, err := b.Create(t.Context(), r); !apierrors.IsAlreadyExists(err) {
		t.Errorf("a second one of the name: %v", err)
	}
	live, err := b.Get(t.Context(), r.Name)
	if err != nil {
		t.Fatal(err)
	}
	stale := live.DeepCopy()
	now := metav1.NewTime(time.Now().Truncate(time.Second))
	live.Status.WithdrawnAt = &now
	if err := b.UpdateStatus(t.Context(), live); err != nil {
		t.Fatal(err)
	}
	stale.Status.WithdrawnAt = &now
	if err := b.UpdateStatus(t.Context(), stale); !apierrors.IsConflict(err) {
		t.Errorf("a write of an old version: %v", err)
	}
}

func TestStore(t *testing.T) {
	b, _ := start(t)
	s := configmap.New(b.Core(), gate)
	seg := recorder.Sign(recording.Segment{Session: "report-agent-fghij", Grant: "report-agent", First: 1, Last: 1, Data: []byte("x")})
	if err := s.Put(t.Context(), seg); err != nil {
		t.Fatal(err)
	}
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "cardea-rec-report-agent-fghij-000000", Namespace: gate}}
	if err := admin.Get(t.Context(), client.ObjectKeyFromObject(cm), cm); err != nil {
		t.Fatal(err)
	}
	_ = operator.Delete(t.Context(), cm)
}
