"""`python -m engine.maximization`: see `engine.gallery.main`."""

from engine.gallery import main

raise SystemExit(main())
