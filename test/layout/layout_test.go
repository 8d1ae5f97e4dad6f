package layout

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/cardea-dev/cardea/"

// pkg is what `go list` says of a package.
type pkg struct {
	ImportPath string
	Imports    []string
	Deps       []string
}

// rule bans imports: no package that `of` matches may depend on one that `ban` matches.
type rule struct {
	of  func(string) bool
	ban func(string) bool
	// direct looks at the package's own import statements alone.
	direct bool
}

var rules = map[string]rule{
	"the API imports apimachinery only": {
		of:     only("api/v1alpha1"),
		ban:    not(anyOf(standard, under("k8s.io/apimachinery"))),
		direct: true,
	},
	"the API knows no client": {
		of:  only("api/v1alpha1"),
		ban: anyOf(client, own),
	},
	"the operator imports the API and pure packages": {
		of: anyOf(within("controllers"), within("webhooks")),
		ban: anyOf(within("proxy/gate"), within("proxy/engine"), within("proxy/backend"), within("proxy/session"),
			within("proxy/recording/store"), parsers),
	},
	"the operator links no C parser": {
		of:  within("cmd/operator"),
		ban: parsers,
	},
	"the proxy stands without the operator": {
		of:  within("proxy"),
		ban: anyOf(within("controllers"), within("webhooks"), within("cmd")),
	},
	"only what talks to the API server imports its client": {
		of:  both(within("proxy"), not(anyOf(within("proxy/backend/kube"), within("proxy/recording/store/configmap"), within("proxy/engine/kubernetes")))),
		ban: client,
	},
	"pure packages link neither C nor a client": {
		of:  anyOf(within("proxy/policy"), within("proxy/masking"), only("proxy/sql"), within("proxy/credentials"), within("proxy/approval")),
		ban: anyOf(parsers, client),
	},
	"product code imports no test code": {
		of:  both(own, not(within("test"))),
		ban: within("test"),
	},
}

// leaves are folders whose subfolders are leaves: one implementation each of the interface
// in the folder itself.
var leaves = []string{"proxy/engine", "proxy/masking/fn", "proxy/recording/store", "proxy/backend"}

func TestImports(t *testing.T) {
	packages := list(t)
	for name, r := range rules {
		t.Run(name, func(t *testing.T) {
			for _, p := range packages {
				if !r.of(p.ImportPath) {
					continue
				}
				imports := p.Deps
				if r.direct {
					imports = p.Imports
				}
				for _, i := range imports {
					if i != p.ImportPath && r.ban(i) {
						t.Errorf("%s depends on %s", p.ImportPath, i)
					}
				}
			}
		})
	}
}

func TestLeavesAreWiredByTheGateAndCommandsAlone(t *testing.T) {
	// proxy/masking/fn is the list of the functions and nothing else.
	mayWire := anyOf(within("cmd"), only("proxy/gate"), only("proxy/masking/fn"), within("test"))
	for _, p := range list(t) {
		if mayWire(p.ImportPath) {
			continue
		}
		for _, i := range p.Imports {
			if leaf := leafOf(i); leaf != "" && leafOf(p.ImportPath) != leaf {
				t.Errorf("%s imports the leaf %s", p.ImportPath, i)
			}
		}
	}
}

func TestNothingRunsAtImport(t *testing.T) {
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (strings.HasPrefix(d.Name(), ".") && d.Name() != ".." || d.Name() == "bin") {
			return fs.SkipDir
		}
		if !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
			return nil
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		if ast.IsGenerated(parsed) {
			return nil
		}
		for _, decl := range parsed.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
				t.Errorf("%s has an init function", file)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// list returns the module's packages.
func list(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports,Deps", module+"...")
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("go list: %v\n%s", err, exit.Stderr)
		}
		t.Fatal(err)
	}
	var packages []pkg
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
	if len(packages) == 0 {
		t.Fatal("go list names no packages")
	}
	return packages
}

// leafOf returns the leaf folder that a package is in, or "".
func leafOf(p string) string {
	for _, parent := range leaves {
		rest, ok := strings.CutPrefix(p, module+parent+"/")
		if !ok {
			continue
		}
		leaf, _, _ := strings.Cut(rest, "/")
		return path.Join(parent, leaf)
	}
	return ""
}

func only(folder string) func(string) bool { return func(p string) bool { return p == module+folder } }

func within(folder string) func(string) bool { return under(module + folder) }

func under(prefix string) func(string) bool {
	return func(p string) bool { return p == prefix || strings.HasPrefix(p, prefix+"/") }
}

func own(p string) bool { return strings.HasPrefix(p, module) }

// standard: the first element of every other import path has a dot.
func standard(p string) bool {
	first, _, _ := strings.Cut(p, "/")
	return !strings.Contains(first, ".")
}

func client(p string) bool {
	return under("k8s.io/client-go")(p) || under("sigs.k8s.io/controller-runtime")(p)
}

func parsers(p string) bool { return under("github.com/pganalyze/pg_query_go")(p) }

func anyOf(fs ...func(string) bool) func(string) bool {
	return func(p string) bool { return slices.ContainsFunc(fs, func(f func(string) bool) bool { return f(p) }) }
}

func both(a, b func(string) bool) func(string) bool {
	return func(p string) bool { return a(p) && b(p) }
}

func not(f func(string) bool) func(string) bool { return func(p string) bool { return !f(p) } }
