"""Price catalogs as documents: `document` (form), `genai` (the public data), `merge`, `source` (download), `update`, `background`."""
