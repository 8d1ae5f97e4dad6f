package files

import (
	"slices"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/sshapi"
)

// Facts returns what policy knows of an operation.
func (o *Operation) Facts() *sshapi.File {
	f := &sshapi.File{Access: o.accesses(), Tree: o.Tree, Resolved: o.Path != ""}
	for _, p := range []string{o.Asked, o.AskedTo} {
		if p != "" {
			f.Asked = append(f.Asked, p)
		}
	}
	if !f.Resolved {
		f.Paths = f.Asked
		return f
	}
	f.Paths = []string{o.Path}
	if o.To != "" {
		f.Paths = append(f.Paths, o.To)
	}
	f.Resolved = (o.To != "") == (o.AskedTo != "")
	return f
}

// accesses are what an operation does, in the words of rules. What is not known does everything.
func (o *Operation) accesses() []v1alpha1.FileAccess {
	switch o.Action {
	case RealPath, LookUpNames:
		return nil
	case List, Stat, StatFileSystem, ReadLink:
		return []v1alpha1.FileAccess{v1alpha1.FileList}
	case SetAttributes:
		return []v1alpha1.FileAccess{v1alpha1.FileAttributes}
	case MakeDirectory:
		return []v1alpha1.FileAccess{v1alpha1.FileWrite}
	case RemoveDirectory, Remove:
		return []v1alpha1.FileAccess{v1alpha1.FileDelete}
	case Rename:
		if o.Replace {
			return []v1alpha1.FileAccess{v1alpha1.FileRename, v1alpha1.FileDelete}
		}
		return []v1alpha1.FileAccess{v1alpha1.FileRename}
	case HardLink, SymbolicLink:
		return []v1alpha1.FileAccess{v1alpha1.FileLink}
	case Open:
		var all []v1alpha1.FileAccess
		if o.Reads() {
			all = append(all, v1alpha1.FileRead)
		}
		if o.Writes() {
			all = append(all, v1alpha1.FileWrite)
		}
		return all
	case Unsupported:
	}
	return slices.Clone(everything)
}

var everything = []v1alpha1.FileAccess{v1alpha1.FileRead, v1alpha1.FileWrite, v1alpha1.FileDelete, v1alpha1.FileRename, v1alpha1.FileLink, v1alpha1.FileAttributes, v1alpha1.FileList}
