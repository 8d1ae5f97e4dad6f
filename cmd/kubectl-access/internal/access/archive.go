package access

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/recording"
	"github.com/cardea-dev/cardea/proxy/recording/store/configmap"
	"github.com/cardea-dev/cardea/proxy/recording/store/dir"
)

// archive is where sessions and their recordings are read from: a cluster or a folder. Every
// command that reads recordings reads them through it.
type archive interface {
	// find returns one session. That there is nothing of it is not an error.
	find(ctx context.Context, name string) (recorded, error)
	// each calls visit with every session of which there is a Session object, or, where
	// orphans says so, a recording alone. What visit returns ends it.
	each(ctx context.Context, orphans bool, visit func(recorded) error) error
	// authorities returns the certificates, in PEM, of the authorities whose recorders made the
	// recordings, none if they are not there, and says where they stand.
	authorities(ctx context.Context) (bundle []byte, from string, err error)
	// kept returns since when all recordings of a store are kept; nil for ever.
	kept(ctx context.Context, now time.Time) (func(store string) time.Time, error)
	// explain says what to do about an error of reading the recording of a session.
	explain(err error, session string) error
}

// recorded is a session with what there is of it.
type recorded struct {
	name string
	// session is nil if the object is gone or was never there.
	session *v1alpha1.Session
	source  recording.Source
	trust   *recording.Trust // whose signatures count; nil for anybody's
}

// anchor is what the Session says of its recording.
func (r recorded) anchor() recording.Anchor {
	a := anchorOf(r.session)
	a.Trust = r.trust
	return a
}

// read reads the recording and verifies it on the way.
func (r recorded) read(ctx context.Context, each func(recording.Entry) error) (recording.Result, error) {
	return recording.Read(ctx, r.source, r.name, r.anchor(), each)
}

// place is where recordings are, as flags say.
type place struct {
	dir string
	ca  string
}

// signers adds the flag that says whose signatures count.
func (p *place) signers(cmd *cobra.Command) {
	cmd.Flags().StringVar(&p.ca, "ca", "", "the `file` with the certificates of the gate's authorities; else the gate's ConfigMap cardea-proxy-tls, or .tls of the folder")
}

func (p *place) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&p.dir, "dir", "", "read the recordings of a standalone proxy from this folder: its manifests' or the recordings' own")
}

// open returns the archive that the flags choose.
func (p *plugin) open(at place) (archive, error) {
	if at.dir != "" {
		return openFolder(at.dir)
	}
	c, err := p.connect()
	if err != nil {
		return nil, err
	}
	return &clusterArchive{cluster: c, source: configmap.NewSource(c.core.CoreV1().RESTClient(), c.namespace)}, nil
}

// checkSession refuses what is no name of a session before it becomes part of a path.
func checkSession(name string) error {
	if !recording.ValidSession(name) {
		return fmt.Errorf("%q is not the name of a session; `kubectl access sessions` lists them", name)
	}
	return nil
}

// clusterArchive reads Sessions and the ConfigMaps of their recordings in one namespace.
type clusterArchive struct {
	*cluster
	source *configmap.Source
	all    bool // every namespace
}

func (a *clusterArchive) sourceOf(s *v1alpha1.Session) *configmap.Source {
	if s.Namespace == a.namespace {
		return a.source
	}
	return configmap.NewSource(a.core.CoreV1().RESTClient(), s.Namespace)
}

func (a *clusterArchive) find(ctx context.Context, name string) (recorded, error) {
	r := recorded{name: name, source: a.source}
	s := &v1alpha1.Session{}
	err := a.Get(ctx, types.NamespacedName{Namespace: a.namespace, Name: name}, s)
	if apierrors.IsNotFound(err) && !notInstalled(err) {
		// It may have been pruned before its recording.
		return r, nil
	}
	if err != nil {
		return r, a.cluster.explain(err, "session", name, "sessions", "cardea-auditor")
	}
	r.session = s
	return r, nil
}

func (a *clusterArchive) each(ctx context.Context, orphans bool, visit func(recorded) error) error {
	known := map[string]bool{}
	list := &v1alpha1.SessionList{}
	var stopped error
	err := a.cluster.each(ctx, list, a.all, func() error {
		for i := range list.Items {
			s := list.Items[i]
			known[s.Name] = true
			if stopped = visit(recorded{name: s.Name, session: &s, source: a.sourceOf(&s)}); stopped != nil {
				return stopped
			}
		}
		return nil
	})
	if stopped != nil {
		return stopped
	}
	if err != nil {
		return a.cluster.explain(err, "session", "", "sessions", "cardea-auditor")
	}
	if !orphans {
		return nil
	}
	names, err := a.source.Sessions(ctx)
	if err != nil {
		return a.explain(err, "")
	}
	for _, name := range names {
		if known[name] {
			continue
		}
		if err := visit(recorded{name: name, source: a.source}); err != nil {
			return err
		}
	}
	return nil
}

func (a *clusterArchive) explain(err error, _ string) error {
	if apierrors.IsForbidden(err) {
		return fmt.Errorf("%w; reading recordings needs the ClusterRole cardea-auditor: ask an administrator to bind it to you", err)
	}
	return err
}

// folder reads what a standalone proxy keeps.
type folder struct {
	*dir.Store
	root     string // as it was named
	sessions string // the folder of Session objects
}

func openFolder(root string) (*folder, error) {
	recordings := root
	if info, err := os.Stat(filepath.Join(root, ".recordings")); err == nil && info.IsDir() {
		recordings = filepath.Join(root, ".recordings")
	}
	if _, err := os.Stat(recordings); err != nil {
		return nil, fmt.Errorf("read recordings: %w; --dir names the folder that the proxy was given as --manifests", err)
	}
	return &folder{Store: dir.New(recordings), root: root, sessions: filepath.Join(filepath.Dir(recordings), ".sessions")}, nil
}

// maxManifest bounds the size of a Session's file.
const maxManifest = 1 << 20

func (f *folder) find(_ context.Context, name string) (recorded, error) {
	r := recorded{name: name, source: f.Store}
	file, err := os.Open(filepath.Join(f.sessions, name+".yaml"))
	if errors.Is(err, os.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return r, err
	}
	defer func() { _ = file.Close() }()
	text, err := io.ReadAll(io.LimitReader(file, maxManifest))
	if err != nil {
		return r, err
	}
	s := &v1alpha1.Session{}
	if err := yaml.UnmarshalStrict(text, s); err != nil {
		return r, fmt.Errorf("read the Session %s: %w", name, err)
	}
	r.session = s
	return r, nil
}

func (f *folder) each(ctx context.Context, _ bool, visit func(recorded) error) error {
	names, err := f.names()
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return err
		}
		r, err := f.find(ctx, name)
		if err != nil {
			return err
		}
		if err := visit(r); err != nil {
			return err
		}
	}
	return nil
}

// names are those of Sessions and of recordings without one: a folder keeps few.
func (f *folder) names() ([]string, error) {
	names, err := f.Sessions()
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	known := map[string]bool{}
	for _, name := range names {
		known[name] = true
	}
	files, err := os.ReadDir(f.sessions)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	for _, file := range files {
		name, ok := strings.CutSuffix(file.Name(), ".yaml")
		if ok && recording.ValidSession(name) && !known[name] {
			names = append(names, name)
		}
	}
	return names, nil
}

func isNotFound(err error) bool { return errors.Is(err, recording.ErrNotFound) }

func (f *folder) explain(err error, session string) error {
	if !isNotFound(err) {
		return err
	}
	known := "there are none"
	if sessions, serr := f.Sessions(); serr == nil && len(sessions) > 0 {
		known = strings.Join(sessions[:min(len(sessions), 20)], ", ")
	}
	return fmt.Errorf("there is no recording of session %s in %s; recordings: %s", session, f.root, known)
}
