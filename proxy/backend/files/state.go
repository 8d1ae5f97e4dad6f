package files

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/backend/files/manifest"
	"github.com/cardea-dev/cardea/proxy/recording"
)

const maxState = 64 << 20

// record is what is remembered of one object from its first appearance to its removal.
type record struct {
	UID        types.UID       `json:"uid"`
	Created    metav1.Time     `json:"created"`
	Generation int64           `json:"generation"`
	Accepted   json.RawMessage `json:"accepted"` // the object as it was last accepted

	// Of an AccessGrant:
	ApprovedAt *metav1.Time                  `json:"approvedAt,omitempty"`
	Verifiers  []v1alpha1.CredentialVerifier `json:"verifiers,omitempty"`
	Approval   *v1alpha1.GrantApproval       `json:"approval,omitempty"`
}

// state survives a restart.
type state struct {
	path    string
	Objects map[string]*record `json:"objects"`
	saved   string             // what the file holds
}

func loadState(path string) (*state, error) {
	s := &state{path: path, Objects: map[string]*record{}}
	b, err := recording.ReadWhole(path, maxState)
	if errors.Is(err, os.ErrNotExist) {
		return s, nil
	}
	if err == nil {
		err = json.Unmarshal(b, s)
	}
	if err != nil {
		return nil, fmt.Errorf("%s is damaged (%w); remove it to start anew: every grant is then a new one", filepath.Join(".state", filepath.Base(path)), err)
	}
	if s.Objects == nil {
		s.Objects = map[string]*record{}
	}
	s.saved = string(b)
	return s, nil
}

// save writes the state if it changed.
func (s *state) save() error {
	b, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("encode state: %w", err)
	}
	if string(b) == s.saved {
		return nil
	}
	if err := writeFile(s.path, b, 0o600); err != nil {
		return err
	}
	s.saved = string(b)
	return nil
}

func key(kind, namespace, name string) string { return kind + "/" + namespace + "/" + name }

// previous returns the object as it was last accepted; nil if it is new.
func (s *state) previous(kind, namespace, name string) manifest.Object {
	r := s.Objects[key(kind, namespace, name)]
	o := manifest.NewObject(kind)
	if r == nil || o == nil || json.Unmarshal(r.Accepted, o) != nil {
		return nil
	}
	return o
}

// identify gives o the identity that it has had since it appeared, or a new one.
func (s *state) identify(kind string, o manifest.Object, now metav1.Time) error {
	accepted, err := json.Marshal(o)
	if err != nil {
		return err
	}
	k := key(kind, o.GetNamespace(), o.GetName())
	r := s.Objects[k]
	if r == nil {
		r = &record{UID: uuid.NewUUID(), Created: now}
		s.Objects[k] = r
	}
	if string(r.Accepted) != string(accepted) {
		r.Accepted = accepted
		r.Generation++
	}
	o.SetUID(r.UID)
	o.SetCreationTimestamp(r.Created)
	o.SetGeneration(r.Generation)
	o.SetResourceVersion(fmt.Sprint(r.Generation))
	return nil
}

// forget drops every object that is not in present: if it comes back it is another one.
func (s *state) forget(present map[string]bool) {
	for k := range s.Objects {
		if !present[k] {
			delete(s.Objects, k)
		}
	}
}
