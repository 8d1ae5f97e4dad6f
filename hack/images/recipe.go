package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	plain "github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// recipe is an image to be: what lies where in its only layer, and how it starts. Paths
// inside the image have no leading slash.
type recipe struct {
	reference string
	entries   map[string]entry
	config    v1.Config
}

// entry is one file, symbolic link or folder of an image: exactly one of source, link,
// content or dir says what it is.
type entry struct {
	source   string // file on this machine; its permission bits are kept
	link     string // target of a symbolic link
	content  string
	dir      bool
	mode     int64 // of content and dir
	uid, gid int
}

func newRecipe(reference string, uid int) *recipe {
	return &recipe{reference: reference, entries: map[string]entry{}, config: v1.Config{
		User: fmt.Sprintf("%d:%d", uid, uid),
		Env:  []string{"PATH=/usr/local/bin:/usr/bin:/bin"},
	}}
}

func (r *recipe) put(at string, e entry) { r.entries[strings.TrimPrefix(at, "/")] = e }

// file puts a file of this machine, following symbolic links, at a path of the image.
func (r *recipe) file(source, at string) error {
	real, err := filepath.EvalSymlinks(source)
	if err != nil {
		return err
	}
	r.put(at, entry{source: real})
	return nil
}

// tree puts a folder of this machine at the same path of the image. Files that skip
// matches by base name stay out.
func (r *recipe) tree(dir string, skip func(string) bool) error {
	return filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case skip != nil && skip(d.Name()):
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		case d.Type()&fs.ModeSymlink != 0:
			target, err := os.Readlink(p)
			if err != nil {
				return err
			}
			r.put(p, entry{link: target})
		case d.Type().IsRegular():
			r.put(p, entry{source: p})
		}
		return nil
	})
}

// key stands for the content of the image: it changes when a source changes, at the latest
// with its size or time.
func (r *recipe) key() (string, error) {
	h := sha256.New()
	config, err := json.Marshal(r.config)
	if err != nil {
		return "", err
	}
	fmt.Fprintf(h, "%s %s\n", r.reference, config)
	for _, at := range r.paths() {
		e := r.entries[at]
		fmt.Fprintf(h, "%s %+v", at, e)
		if e.source != "" {
			fi, err := os.Stat(e.source)
			if err != nil {
				return "", err
			}
			fmt.Fprintf(h, " %d %d %s", fi.Size(), fi.ModTime().UnixNano(), fi.Mode())
		}
		fmt.Fprintln(h)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

func (r *recipe) paths() []string {
	paths := make([]string, 0, len(r.entries))
	for p := range r.entries {
		paths = append(paths, p)
	}
	slices.Sort(paths)
	return paths
}

// image packs the layer.
func (r *recipe) image() (v1.Image, error) {
	layer, err := r.layer()
	if err != nil {
		return nil, err
	}
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	img, err := mutate.AppendLayers(base, plain.NewLayer(layer, types.OCIUncompressedLayer))
	if err != nil {
		return nil, err
	}
	file, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.OS, file.Architecture, file.Config = "linux", runtime.GOARCH, r.config
	return mutate.ConfigFile(img, file)
}

func (r *recipe) layer() ([]byte, error) {
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	made := map[string]bool{".": true}
	for _, at := range r.paths() {
		if err := makeParents(tw, made, path.Dir(at)); err != nil {
			return nil, err
		}
		if err := r.entries[at].write(tw, at); err != nil {
			return nil, fmt.Errorf("%s: %w", at, err)
		}
		made[at] = true
	}
	if err := tw.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func makeParents(tw *tar.Writer, made map[string]bool, dir string) error {
	if made[dir] {
		return nil
	}
	if err := makeParents(tw, made, path.Dir(dir)); err != nil {
		return err
	}
	made[dir] = true
	return entry{dir: true, mode: 0o755}.write(tw, dir)
}

func (e entry) write(tw *tar.Writer, at string) error {
	h := &tar.Header{Name: at, Mode: e.mode, Uid: e.uid, Gid: e.gid, ModTime: time.Unix(0, 0), Format: tar.FormatPAX}
	switch {
	case e.link != "":
		h.Typeflag, h.Linkname, h.Mode = tar.TypeSymlink, e.link, 0o777
		return tw.WriteHeader(h)
	case e.dir:
		h.Typeflag, h.Name = tar.TypeDir, at+"/"
		return tw.WriteHeader(h)
	case e.source == "":
		h.Typeflag, h.Size = tar.TypeReg, int64(len(e.content))
		if err := tw.WriteHeader(h); err != nil {
			return err
		}
		_, err := io.WriteString(tw, e.content)
		return err
	}
	content, err := os.ReadFile(e.source)
	if err != nil {
		return err
	}
	fi, err := os.Stat(e.source)
	if err != nil {
		return err
	}
	h.Typeflag, h.Size, h.Mode = tar.TypeReg, int64(len(content)), int64(fi.Mode().Perm())
	if err := tw.WriteHeader(h); err != nil {
		return err
	}
	_, err = tw.Write(content)
	return err
}
