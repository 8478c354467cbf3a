"""The hub's addresses, views that save orders, and an admin of orders."""

from __future__ import annotations

from asgiref.sync import sync_to_async
from django.contrib.admin import AdminSite
from django.http import HttpRequest, HttpResponse
from django.urls import include, path
from django.views.decorators.csrf import csrf_exempt

from tests.shop.models import Order
from tests.shop.nesting import nest

admin = AdminSite(name="shop")
admin.register(Order)


@csrf_exempt
def nest_in_view(request: HttpRequest, mark: str, depth: int, ending: str) -> HttpResponse:
    nest(mark, depth, ending)
    return HttpResponse()


@csrf_exempt
async def nest_in_async_view(
    request: HttpRequest, mark: str, depth: int, ending: str
) -> HttpResponse:
    await sync_to_async(nest)(mark, depth, ending)
    return HttpResponse()


@csrf_exempt
def stumble(request: HttpRequest) -> HttpResponse:
    secret = request.POST["secret"]
    raise ValueError(f"{len(secret)} characters are too many")


urlpatterns = [
    path("shop/stumble/", stumble),
    path("shop/nest/<mark>/<int:depth>/<ending>/", nest_in_view),
    path("shop/anest/<mark>/<int:depth>/<ending>/", nest_in_async_view),
    path("shop/admin/", admin.urls),
    path("", include("hub.urls")),
]
