package access

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/recording"
)

const (
	// recordingCA is where the gate's authorities stand, in its ConfigMap and in .tls.
	recordingCA = "recording-ca.crt"
	// maxBundle bounds certificates that are read, in bytes.
	maxBundle = 1 << 20
	// defaultRetention holds where no RecordingStore says otherwise.
	defaultRetention = 720 * time.Hour
	// fresh is how long a recording is kept whatever its size.
	fresh = 24 * time.Hour
)

// errNoAuthorities says that nobody can tell whose signatures count.
var errNoAuthorities = errors.New("the certificates of the gate's authorities are not there: --ca names a file with them")

// trust returns whose signatures count, and where that was read. file is that of --ca. Without
// any certificates the error is errNoAuthorities.
func (p *plugin) trust(ctx context.Context, a archive, file string) (*recording.Trust, string, error) {
	var bundle []byte
	var from string
	var err error
	if file != "" {
		from = file
		bundle, err = recording.ReadWhole(file, maxBundle)
	} else {
		bundle, from, err = a.authorities(ctx)
	}
	if err != nil {
		return nil, "", err
	}
	if len(bundle) == 0 {
		return nil, "", errNoAuthorities
	}
	trust, err := recording.NewTrust(bundle)
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", from, err)
	}
	return trust, from, nil
}

func (a *clusterArchive) authorities(ctx context.Context) (bundle []byte, from string, err error) {
	from = "ConfigMap " + v1alpha1.ProxyTLSName + " of namespace " + a.namespace
	cm, err := a.core.CoreV1().ConfigMaps(a.namespace).Get(ctx, v1alpha1.ProxyTLSName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, from, nil
	}
	if err != nil {
		return nil, from, a.explain(err, "")
	}
	return []byte(cm.Data[recordingCA]), from, nil
}

func (f *folder) authorities(context.Context) (bundle []byte, from string, err error) {
	from = filepath.Join(filepath.Dir(f.sessions), ".tls", recordingCA)
	bundle, err = recording.ReadWhole(from, maxBundle)
	if errors.Is(err, os.ErrNotExist) {
		return nil, from, nil
	}
	return bundle, from, err
}

func (a *clusterArchive) kept(ctx context.Context, now time.Time) (func(store string) time.Time, error) {
	retention := map[string]time.Duration{}
	longest := time.Duration(0)
	list := &v1alpha1.RecordingStoreList{}
	err := a.cluster.each(ctx, list, false, func() error {
		for i := range list.Items {
			d := list.Items[i].Spec.Retention.Duration
			if d <= 0 {
				d = defaultRetention
			}
			if c := list.Items[i].Spec.ConfigMap; c != nil && c.RetentionBytes > 0 {
				// By size everything can go that is not fresh.
				d = min(d, fresh)
			}
			retention[list.Items[i].Name], longest = d, max(longest, d)
		}
		return nil
	})
	if err != nil {
		return nil, a.cluster.explain(err, "recordingstore", "", "sessions", "cardea-auditor")
	}
	if longest == 0 {
		longest = defaultRetention
	}
	return func(store string) time.Time {
		if d, ok := retention[store]; ok {
			return now.Add(-d)
		}
		return now.Add(-longest)
	}, nil
}

func (f *folder) kept(context.Context, time.Time) (func(store string) time.Time, error) {
	return nil, nil //nolint:nilnil // nobody deletes recordings of a folder by their age
}
