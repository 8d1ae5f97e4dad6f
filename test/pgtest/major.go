package pgtest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
)

// Majors are the releases of PostgreSQL that tests can start.
var Majors = []int{14, 15, 16, 17, 18}

// majorVariable names the environment variable with the major that Start starts, for whole
// test suites against another one.
const majorVariable = "CARDEA_TEST_POSTGRES"

// StartMajor is Start for a release by its major version.
func StartMajor(t testing.TB, major int, settings ...string) *Server {
	t.Helper()
	return start(t, major, settings)
}

// chosen returns the major that Start starts; 0 is the newest installed one.
func chosen(t testing.TB) int {
	t.Helper()
	value := os.Getenv(majorVariable)
	if value == "" {
		return 0
	}
	major, err := strconv.Atoi(value)
	if err != nil {
		t.Fatalf("%s is %q, which is no major version", majorVariable, value)
	}
	return major
}

// programs returns the folder of a major's programs. Those that no package of the system
// brought are put below dir: the user that the server runs as cannot read what is in root's
// home.
func programs(t testing.TB, major int, dir string) string {
	t.Helper()
	if major == 0 {
		return filepath.Dir(Bin(t, "postgres"))
	}
	installed := fmt.Sprintf("/usr/lib/postgresql/%d/bin", major)
	if _, err := os.Stat(filepath.Join(installed, "postgres")); err == nil {
		return installed
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	tree := filepath.Join(cache, "cardea", fmt.Sprintf("postgres-%d", major))
	if _, err := os.Stat(filepath.Join(tree, "version")); err != nil {
		t.Fatalf("PostgreSQL %d is not installed for tests; hack/postgres.sh %d installs it (it needs npm)", major, major)
	}
	if os.Geteuid() != 0 {
		return filepath.Join(tree, "bin")
	}
	own := filepath.Join(dir, "server")
	if exec.Command("cp", "-al", tree, own).Run() != nil { // another file system
		if err := os.RemoveAll(own); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("cp", "-a", tree, own).CombinedOutput(); err != nil {
			t.Fatalf("copy PostgreSQL %d: %v\n%s", major, err, out)
		}
	}
	return filepath.Join(own, "bin")
}
