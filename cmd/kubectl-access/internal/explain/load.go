package explain

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"github.com/cardea-dev/cardea/proxy/backend/files/manifest"
	"github.com/cardea-dev/cardea/proxy/policy"
)

// maxFiles bounds how many files are read.
const maxFiles = 10000

// Load reads the policy in files and folders, subfolders included. Documents that are no
// policy are passed over; one that is wrong is an error, as it would shut what it governs.
func Load(ctx context.Context, paths []string, rootNamespace string) (policy.Input, error) {
	in := policy.Input{RootNamespace: rootNamespace}
	decoder, err := manifest.NewDecoder()
	if err != nil {
		return in, fmt.Errorf("load the schemas: %w", err)
	}
	var wrong []error
	seen, files := map[string]string{}, 0
	for _, path := range paths {
		err := filepath.WalkDir(path, func(name string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if name != path && skipped(d) {
				if d.IsDir() {
					return fs.SkipDir
				}
				return nil
			}
			if d.IsDir() {
				return nil
			}
			if files++; files > maxFiles {
				return fmt.Errorf("more than %d files", maxFiles)
			}
			content, err := read(name)
			if err != nil {
				return err
			}
			for _, doc := range decoder.Decode(ctx, name, content, none) {
				if err := take(&in, &doc, seen); err != nil {
					wrong = append(wrong, fmt.Errorf("%s: %w", doc.Where(), err))
				}
			}
			return nil
		})
		if err != nil {
			return in, fmt.Errorf("read %s: %w", path, err)
		}
	}
	return in, errors.Join(wrong...)
}

// none says that no object replaces another one: each is taken as if it were new.
func none(string, string, string) manifest.Object { return nil }

// skipped reports whether a file in a folder is none of the policy's.
func skipped(d fs.DirEntry) bool {
	name := d.Name()
	if strings.HasPrefix(name, ".") {
		return true
	}
	switch filepath.Ext(name) {
	case ".yaml", ".yml":
		return strings.TrimSuffix(name, filepath.Ext(name)) == "kustomization"
	}
	return !d.IsDir()
}

func read(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, manifest.MaxFile+1))
	if err == nil && len(content) > manifest.MaxFile {
		err = fmt.Errorf("larger than %d bytes", manifest.MaxFile)
	}
	return content, err
}

// take puts a document's object into the policy. Objects get the identity that an API
// server would give them.
func take(in *policy.Input, doc *manifest.Document, seen map[string]string) error {
	switch {
	case doc.Err != nil:
		return doc.Err
	case doc.Ignored:
		return nil
	}
	key := doc.Kind + "/" + doc.Namespace + "/" + doc.Name
	if before := seen[key]; before != "" {
		return fmt.Errorf("it is in %s already", before)
	}
	seen[key] = doc.Where()
	doc.Object.SetUID(types.UID(key))
	doc.Object.SetGeneration(1)
	in.Add(doc.Object)
	return nil
}
