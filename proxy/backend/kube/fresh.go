package kube

import (
	"context"
	"errors"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/client-go/metadata"
)

// A proof is tried this often; soon again if the watches were behind.
const (
	proveEvery = 10 * time.Second
	proveAgain = 250 * time.Millisecond
	proveSlow  = 2 * time.Second
	pageSize   = 500
	// wholeUpTo is how many objects of a kind are compared whole.
	wholeUpTo = 2000
)

// prove proves again and again that the snapshot is what the API server holds, until ctx
// ends. The first proof lets the gate open.
func (b *Backend) prove(ctx context.Context) {
	wait, behind := time.Duration(0), 0
	said := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-b.c.Clock.After(wait):
		}
		began := b.c.Clock.Now()
		err := b.proof(ctx)
		switch {
		case err == nil:
			if b.proven.Swap(&began).IsZero() {
				close(b.ready)
			}
			wait, behind, said = proveEvery, 0, ""
			continue
		case ctx.Err() != nil:
			return
		}
		// Being behind for a moment is usual right after a change.
		behind++
		if wait = proveAgain; behind > 4 {
			wait = proveSlow
			if said != err.Error() {
				said = err.Error()
				b.c.Log.Info("The policy could not be proven current", "reason", said)
			}
		}
	}
}

// proof lists every kind consistently and compares.
func (b *Backend) proof(ctx context.Context) error {
	for _, s := range b.sources {
		if s.kind == "ApprovalRequest" {
			continue // read from the API server itself where it counts
		}
		if err := b.proofOf(ctx, s); err != nil {
			return fmt.Errorf("%s in namespace %s: %w", s.kind, s.namespace, err)
		}
	}
	return nil
}

// proofOf proves one kind. Where there are not too many objects it compares their content
// too: a watch that began before a definition of the kind was updated goes on without the
// fields that are new in it, and a field that is not seen would not shut anything.
func (b *Backend) proofOf(ctx context.Context, s *source) error {
	_, _, held := s.list()
	var listed versions
	var at string
	var err error
	if s.kind == "Session" || len(held) > wholeUpTo {
		listed, at, err = listVersions(ctx, b.meta.Resource(s.resource).Namespace(s.namespace))
	} else {
		listed, at, err = b.listWhole(ctx, s)
	}
	if err != nil {
		return err
	}
	if s.kind == "Session" {
		// Sessions are compiled only when one is to end; the watch itself is what is compared.
		_, _, held = s.list()
	} else {
		b.mu.Lock()
		held = b.compiled[s]
		b.mu.Unlock()
	}
	return compare(held, listed, at)
}

// listWhole lists like listVersions, and compares the content of the objects.
func (b *Backend) listWhole(ctx context.Context, s *source) (versions, string, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	vs, same := versions{}, true
	var at string
	for token := ""; ; {
		page, err := b.dynamic.Resource(s.resource).Namespace(s.namespace).List(ctx, metav1.ListOptions{Limit: pageSize, Continue: token})
		if err != nil {
			return nil, "", err
		}
		at = page.GetResourceVersion()
		for i := range page.Items {
			u := &page.Items[i]
			u.SetManagedFields(nil)
			vs[u.GetUID()] = u.GetResourceVersion()
			same = s.compare(u) && same
		}
		if token = page.GetContinue(); token == "" {
			break
		}
	}
	if !same {
		b.changed()
		return nil, "", errors.New("the watch has shown less than there is")
	}
	return vs, at, nil
}

// listVersions lists what the API server holds now: no resourceVersion means a read that is
// consistent with every write before it.
func listVersions(ctx context.Context, r metadata.ResourceInterface) (versions, string, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	vs := versions{}
	var at string
	for token := ""; ; {
		page, err := r.List(ctx, metav1.ListOptions{Limit: pageSize, Continue: token})
		if err != nil {
			return nil, "", err
		}
		at = page.ResourceVersion
		for i := range page.Items {
			vs[page.Items[i].UID] = page.Items[i].ResourceVersion
		}
		if token = page.Continue; token == "" {
			return vs, at, nil
		}
	}
}

// compare fails unless held is as listed at the given version, or newer.
func compare(held, listed versions, at string) error {
	for uid, version := range listed {
		have, ok := held[uid]
		if !ok {
			return fmt.Errorf("object %s is not known yet", uid)
		}
		if older, err := resourceversion.CompareResourceVersion(have, version); err != nil || older < 0 {
			return fmt.Errorf("object %s is known at an older version", uid)
		}
	}
	for uid, version := range held {
		if _, ok := listed[uid]; ok {
			continue
		}
		if newer, err := resourceversion.CompareResourceVersion(version, at); err != nil || newer <= 0 {
			return fmt.Errorf("object %s is gone", uid)
		}
	}
	return nil
}
