"""A package of ComfyUI nodes: a link to this folder in `ComfyUI/custom_nodes` installs it (docs/comfyui.md)."""

from .comfyui_nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS

__all__ = ['NODE_CLASS_MAPPINGS', 'NODE_DISPLAY_NAME_MAPPINGS']
