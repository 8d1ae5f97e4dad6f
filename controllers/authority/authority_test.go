package authority_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"testing"
	"time"

	"github.com/cardea-dev/cardea/controllers/authority"
)

var begin = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

func verify(t *testing.T, bundle []byte, s authority.Serving, now time.Time) error {
	t.Helper()
	pair, err := tls.X509KeyPair(s.Cert, s.Key)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(bundle)
	_, err = pair.Leaf.Verify(x509.VerifyOptions{Roots: pool, DNSName: "gate", CurrentTime: now})
	return err
}

// A client that read the bundle at any time trusts every certificate served within the
// publication period after it, over several generations of authorities.
func TestRotationNeverOutrunsTheBundle(t *testing.T) {
	keys, err := authority.New("test", begin)
	if err != nil {
		t.Fatal(err)
	}
	var serving, recorder authority.Serving
	type read struct {
		at     time.Time
		bundle []byte
	}
	var reads, recorders []read
	signers := map[string]bool{}
	for day := range 3 * 365 {
		now := begin.Add(time.Duration(day) * 24 * time.Hour)
		if keys, _, err = keys.Rotated("test", now); err != nil {
			t.Fatal(err)
		}
		if keys, err = authority.Parse(keys.Data()); err != nil {
			t.Fatal(err)
		}
		if serving, _, err = keys.Serve(serving, []string{"gate"}, now); err != nil {
			t.Fatal(err)
		}
		signers[string(keys.Signer().CertPEM())] = true
		if recorder, _, err = keys.Recorder(recorder, "gate", now); err != nil {
			t.Fatal(err)
		}
		recorders = append(recorders, read{now, recorder.Cert})
		reads = append(reads, read{now, keys.Bundle()})
		for _, r := range reads {
			if now.Sub(r.at) >= authority.Publication {
				continue
			}
			if err := verify(t, r.bundle, serving, now); err != nil {
				t.Fatalf("day %d: a client with the bundle of %s does not trust the gate: %v", day, r.at, err)
			}
		}
	}
	if len(signers) < 4 {
		t.Errorf("%d authorities in three years, want at least 4", len(signers))
	}
	// Whoever reads a recording years later trusts what was signed then.
	history := x509.NewCertPool()
	history.AppendCertsFromPEM(keys.History())
	for _, r := range recorders {
		block, _ := pem.Decode(r.bundle)
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := cert.Verify(x509.VerifyOptions{Roots: history, CurrentTime: r.at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err != nil {
			t.Fatalf("what was signed at %s is not trusted after three years: %v", r.at, err)
		}
	}
	if n := bytes.Count(keys.Bundle(), []byte("BEGIN")); n > 3 {
		t.Errorf("the bundle grew to %d certificates", n)
	}
}

func TestServe(t *testing.T) {
	keys, err := authority.New("test", begin)
	if err != nil {
		t.Fatal(err)
	}
	other, err := authority.New("other", begin)
	if err != nil {
		t.Fatal(err)
	}
	good, _, err := keys.Serve(authority.Serving{}, []string{"gate"}, begin)
	if err != nil {
		t.Fatal(err)
	}
	foreign, _, err := other.Serve(authority.Serving{}, []string{"gate"}, begin)
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		old     authority.Serving
		names   []string
		now     time.Time
		wantNew bool
	}{
		"still good":           {good, []string{"gate"}, begin.Add(19 * 24 * time.Hour), false},
		"past two thirds":      {good, []string{"gate"}, begin.Add(21 * 24 * time.Hour), true},
		"other names":          {good, []string{"gate", "more"}, begin, true},
		"of another authority": {foreign, []string{"gate"}, begin, true},
		"nothing there":        {authority.Serving{}, []string{"gate"}, begin, true},
		"key of another":       {authority.Serving{Cert: good.Cert, Key: foreign.Key}, []string{"gate"}, begin, true},
		"garbage":              {authority.Serving{Cert: []byte("x"), Key: []byte("y")}, []string{"gate"}, begin, true},
	} {
		t.Run(name, func(t *testing.T) {
			got, isNew, err := keys.Serve(tc.old, tc.names, tc.now)
			if err != nil {
				t.Fatal(err)
			}
			if isNew != tc.wantNew {
				t.Errorf("new = %t, want %t", isNew, tc.wantNew)
			}
			if got.RenewAt().Before(tc.now) {
				t.Errorf("to be renewed at %s, which is over at %s", got.RenewAt(), tc.now)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	keys, err := authority.New("test", begin)
	if err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(map[string][]byte){
		"no data":          func(d map[string][]byte) { clear(d) },
		"no key":           func(d map[string][]byte) { delete(d, "tls.key") },
		"half a successor": func(d map[string][]byte) { d["next.crt"] = d["tls.crt"] },
	} {
		t.Run(name, func(t *testing.T) {
			data := keys.Data()
			spoil(data)
			if _, err := authority.Parse(data); err == nil {
				t.Error("parsed, want an error")
			}
		})
	}
}
