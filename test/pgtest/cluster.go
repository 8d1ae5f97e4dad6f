package pgtest

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// cluster makes the data directory of a server. initdb takes longer than most tests: what it
// made is kept, and copied from then on. All servers of one release have the same system
// identifier by that.
func cluster(t testing.TB, who *syscall.Credential, initdb, data, passwords string) {
	t.Helper()
	kept := keptCluster(initdb)
	if kept == "" || !exists(kept) {
		run(t, who, initdb, "-D", data, "-U", "postgres", "-A", "scram-sha-256", "--pwfile", passwords, "-E", "UTF8", "--locale=C", "--no-sync")
		if kept != "" {
			keep(t, data, kept)
		}
		return
	}
	run(t, nil, "cp", "-a", "--reflink=auto", kept, data)
	if who != nil {
		run(t, nil, "chown", "-R", fmt.Sprintf("%d:%d", who.Uid, who.Gid), data)
	}
}

// keptCluster is where what a release's initdb makes is kept; empty if nowhere.
func keptCluster(initdb string) string {
	cache, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	release, err := exec.Command(initdb, "--version").Output()
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(release)
	return filepath.Join(cache, "cardea", "clusters", hex.EncodeToString(sum[:8]))
}

// keep puts a copy of data where others find all of it or nothing.
func keep(t testing.TB, data, kept string) {
	t.Helper()
	if os.MkdirAll(filepath.Dir(kept), 0o700) != nil {
		return // there is no room for it, and no need
	}
	aside, err := os.MkdirTemp(filepath.Dir(kept), "new-")
	if err != nil {
		return
	}
	defer os.RemoveAll(aside)
	run(t, nil, "cp", "-a", data, filepath.Join(aside, "data"))
	_ = os.Rename(filepath.Join(aside, "data"), kept) // another test may have been faster
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
